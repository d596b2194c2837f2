"""The promo codes of an event: `/events/{id}/promo-codes`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType

from api.access.declarations import ORGANIZERS, access
from api.context import process
from api.http.bodies import LINE_PATTERN, Body, Broken
from api.http.conditional import expected_version, version_etag
from api.http.pagination import LIMIT_DEFAULT, SEARCH_CHARS_MAX, Cursor, Limit, cut, read_cursor, searched, write_cursor
from api.resources.bookings import PromoCodeText
from api.resources.ticket_types import WRITE_REFUSALS, SaleTime, check_owns, owned_event, set_fields
from api.shapes import Page
from domain.accounts.tokens import Token
from domain.kernel.refusals import (
    EventCancelled,
    EventNotFound,
    EventOver,
    MaxUsesBelowUsed,
    PromoCodeNotFound,
    PromoCodeTaken,
)
from domain.sales.code_patterns import CODES_AT_ONCE_MAX, broken_pattern
from domain.sales.money import PERCENT_MAX, TOTAL_MINOR_MAX
from domain.sales.ticket_types import TICKET_TYPES_MAX, NewPromoCodes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.sales.ticket_types import PromoCode

USES_MAX = 1_000_000

Pattern = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=64,
        pattern=LINE_PATTERN,
        description="Codes to generate: each `#` becomes a random letter or digit. It needs at least four of them.",
    ),
]
Uses = Annotated[int, Meta(ge=1, le=USES_MAX)]
Percent = Annotated[int, Meta(ge=1, le=PERCENT_MAX)]
AmountMinor = Annotated[int, Meta(ge=1, le=TOTAL_MINOR_MAX, description="Off the total, in minor units.")]
TicketTypes = Annotated[
    list[UUID],
    Meta(min_length=1, max_length=TICKET_TYPES_MAX, description="The ticket types that it is for; null for all."),
]
CodeSearch = Annotated[
    str | None, QueryParameter(max_length=SEARCH_CHARS_MAX, description="A part of the code, in any case.")
]


class PromoCodeDraft(Body):
    """A new promo code, or `count` generated ones by a `pattern` such as `SPRING-####`.

    It takes `percent_off` each line or `amount_off_minor` off the order, or nothing. With `unlocks_hidden`, buyers see
    the hidden ticket types that it is for. Case makes no difference in a code.
    """

    code: PromoCodeText | UnsetType = UNSET
    pattern: Pattern | UnsetType = UNSET
    count: Annotated[int, Meta(ge=1, le=CODES_AT_ONCE_MAX)] | UnsetType = UNSET
    max_uses: Uses | None = None
    max_uses_per_user: Uses | None = None
    percent_off: Percent | None = None
    amount_off_minor: AmountMinor | None = None
    ticket_types: TicketTypes | None = None
    valid_from: SaleTime | None = None
    valid_until: SaleTime | None = None
    unlocks_hidden: bool = False

    def broken_rules(self) -> Iterable[Broken]:
        """It is either one code or a pattern for several."""
        if self.code is UNSET and self.pattern is UNSET:
            yield Broken("/code", "Required without pattern")
        if self.code is not UNSET and self.pattern is not UNSET:
            yield Broken("/pattern", "Not allowed with code")
        if self.count is not UNSET and self.pattern is UNSET:
            yield Broken("/count", "Not allowed without pattern")
        if self.pattern is not UNSET and (message := broken_pattern(self.pattern)):
            yield Broken("/pattern", message)

    def promo_codes(self) -> NewPromoCodes:
        """The promo codes for the engine."""
        return NewPromoCodes(**_renamed(set_fields(self)))


class PromoCodePatch(Body):
    """Changes of a promo code. Fields that are left out stay as they are."""

    max_uses: Uses | UnsetType | None = UNSET
    max_uses_per_user: Uses | UnsetType | None = UNSET
    percent_off: Percent | UnsetType | None = UNSET
    amount_off_minor: AmountMinor | UnsetType | None = UNSET
    ticket_types: TicketTypes | UnsetType | None = UNSET
    valid_from: SaleTime | UnsetType | None = UNSET
    valid_until: SaleTime | UnsetType | None = UNSET
    unlocks_hidden: bool | UnsetType = UNSET


class PromoCodeShown(Struct, frozen=True, kw_only=True):
    """A promo code. Bookings and holds have `used` it so often at this moment; `max_uses` is null for no limit."""

    id: UUID
    event_id: UUID
    code: str
    used: int
    max_uses: int | None
    max_uses_per_user: int | None
    percent_off: int | None
    amount_off_minor: int | None
    ticket_types: tuple[UUID, ...] | None
    valid_from: datetime | None
    valid_until: datetime | None
    unlocks_hidden: bool
    version: int
    created_at: datetime

    @classmethod
    def of(cls, code: PromoCode, *, used: int) -> PromoCodeShown:
        """A promo code with its counter."""
        fields: dict[str, Any] = {name: getattr(code, name, None) for name in cls.__struct_fields__}
        return cls(**fields | {"used": used, "ticket_types": code.ticket_type_ids})


class PromoCodesMade(Struct, frozen=True, kw_only=True):
    """The promo codes that a request made."""

    items: list[PromoCodeShown]


class PromoCodeController(Controller):
    """The promo codes of an event."""

    path = "/events/{event_id:uuid}/promo-codes"
    tags = ("Ticket types",)

    @get("/", **access(ORGANIZERS, refuses=(EventNotFound,)))
    async def page(
        self,
        request: Request[Token, Any, Any],
        event_id: FromPath[UUID],
        q: CodeSearch = None,
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[PromoCodeShown]:
        """List the promo codes of an event, oldest first, with their uses at this moment."""
        event, selling = await check_owns(request, event_id), process(request).stores.selling
        after = read_cursor(cursor, tuple[datetime, UUID])
        found = await selling.page_of_codes(event_id, limit=limit + 1, after=after, search=searched(q))
        codes, more = cut(found, limit)
        uses = await selling.uses(event, codes)
        return Page(
            items=[PromoCodeShown.of(each, used=uses[each.id]) for each in codes],
            next_cursor=write_cursor((codes[-1].created_at, codes[-1].id)) if more else None,
        )

    @post(
        "/",
        status_code=201,
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(EventNotFound, EventCancelled, EventOver, PromoCodeTaken),
        ),
    )
    async def create(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], data: JSONBody[PromoCodeDraft]
    ) -> PromoCodesMade:
        """Add a promo code to an event, or up to 1,000 generated ones: all of them or none."""
        await check_owns(request, event_id)
        made = await process(request).stores.selling.add_codes(event_id, data.promo_codes(), caller=request.user.caller)
        return PromoCodesMade(items=[PromoCodeShown.of(each, used=0) for each in made])

    @patch(
        "/{code_id:uuid}",
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(*WRITE_REFUSALS, PromoCodeNotFound, MaxUsesBelowUsed),
            reads=("If-Match",),
            sends={200: ("ETag",)},
        ),
    )
    async def change(
        self,
        request: Request[Token, Any, Any],
        event_id: FromPath[UUID],
        code_id: FromPath[UUID],
        data: JSONBody[PromoCodePatch],
    ) -> Response[PromoCodeShown]:
        """Change a promo code. Bookings and holds keep their prices. With `If-Match`, only that version is changed."""
        event, selling = await owned_event(request, event_id), process(request).stores.selling
        before = event.full_catalogue.code(code_id)
        changed = await selling.change_code(
            event_id,
            code_id,
            _renamed(set_fields(data)),
            caller=request.user.caller,
            expected_version=expected_version(request.scope, before.version),
        )
        shown = PromoCodeShown.of(changed, used=(await selling.uses(event, [changed]))[code_id])
        return Response(shown, headers={"ETag": version_etag(changed.version)})

    @delete(
        "/{code_id:uuid}",
        status_code=204,
        **access(
            ORGANIZERS, limit="catalogue_update", refuses=(*WRITE_REFUSALS, PromoCodeNotFound), reads=("If-Match",)
        ),
    )
    async def archive(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], code_id: FromPath[UUID]
    ) -> None:
        """End a promo code. Bookings and holds keep their prices. Its text can be used again."""
        before = (await owned_event(request, event_id)).full_catalogue.code(code_id)
        await process(request).stores.selling.archive_code(
            event_id,
            code_id,
            caller=request.user.caller,
            expected_version=expected_version(request.scope, before.version),
        )


def _renamed(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body by their names in the engine."""
    return {"ticket_type_ids" if name == "ticket_types" else name: value for name, value in fields.items()}
