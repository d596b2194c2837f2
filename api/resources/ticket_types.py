"""The ticket types of an event: `/events/{id}/ticket-types`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

from api.access.declarations import ANYONE, ORGANIZERS, access
from api.access.guards import check_owns_event
from api.access.promo_guesses import guesser_of
from api.context import process
from api.http.bodies import LINE_PATTERN, TEXT_PATTERN, Body, nfc
from api.http.conditional import expected_version, version_etag
from api.shapes import Page
from domain.accounts.accounts import Role
from domain.accounts.tokens import Token
from domain.kernel.refusals import (
    EventCancelled,
    EventNotFound,
    EventOver,
    InUse,
    PromoCodeInvalid,
    TicketTypeNotFound,
    VersionMismatch,
)
from domain.sales.money import PRICE_MINOR_MAX
from domain.sales.orders import TICKETS_MAX
from domain.sales.ticket_types import POOLS_MAX, WEIGHT_MAX, NewTicketType, TicketType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.sales.events import Event

POSITION_MAX = 1_000_000

TypeName = Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE_PATTERN)]
TypeDescription = Annotated[str, Meta(max_length=2_000, pattern=TEXT_PATTERN)]
PriceMinor = Annotated[
    int, Meta(ge=0, le=PRICE_MINOR_MAX, description="In minor units of the event's `currency`; 0 is free.")
]
Pools = Annotated[list[UUID], Meta(max_length=POOLS_MAX, description="Pools that a ticket takes from.")]
Weight = Annotated[int, Meta(ge=1, le=WEIGHT_MAX, description="Units that a ticket takes of each pool.")]
Quantity = Annotated[int, Meta(ge=1, le=TICKETS_MAX)]
Position = Annotated[int, Meta(ge=0, le=POSITION_MAX, description="Buyers see lower ones first.")]
SaleTime = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset, in 2000 to 2100.")]
Code = Annotated[
    str | None, QueryParameter(max_length=64, description="A promo code, which may show hidden ticket types.")
]

WRITE_REFUSALS = (EventNotFound, EventCancelled, EventOver, VersionMismatch)
"""What changes of an event's catalogue refuse."""


class TicketTypeDraft(Body):
    """A new ticket type."""

    name: TypeName
    description: TypeDescription = ""
    price_minor: PriceMinor = 0
    pools: Pools = field(default_factory=list)
    weight: Weight = 1
    takes_room: bool = True
    counts_for_max_per_user: bool = True
    requires_type_id: UUID | None = None
    min_per_booking: Quantity = 1
    max_per_booking: Quantity = TICKETS_MAX
    max_per_user: Quantity | None = None
    sales_open_at: SaleTime | None = None
    sales_close_at: SaleTime | None = None
    hidden: bool = False
    position: Position = 0

    def ticket_type(self) -> NewTicketType:
        """The ticket type for the engine."""
        return NewTicketType(**set_fields(self))


class TicketTypePatch(Body):
    """Changes of a ticket type. Fields that are left out stay as they are."""

    name: TypeName | UnsetType = UNSET
    description: TypeDescription | UnsetType = UNSET
    price_minor: PriceMinor | UnsetType = UNSET
    pools: Pools | UnsetType = UNSET
    weight: Weight | UnsetType = UNSET
    takes_room: bool | UnsetType = UNSET
    counts_for_max_per_user: bool | UnsetType = UNSET
    requires_type_id: UUID | UnsetType | None = UNSET
    min_per_booking: Quantity | UnsetType = UNSET
    max_per_booking: Quantity | UnsetType = UNSET
    max_per_user: Quantity | UnsetType | None = UNSET
    sales_open_at: SaleTime | UnsetType | None = UNSET
    sales_close_at: SaleTime | UnsetType | None = UNSET
    hidden: bool | UnsetType = UNSET
    position: Position | UnsetType = UNSET


class TicketTypeShown(Struct, frozen=True, kw_only=True):
    """A ticket type. A ticket takes `weight` units of each of its `pools` and, with `takes_room`, of the event.

    `requires_type_id` is a type of which the buyer must have a ticket.
    """

    id: UUID
    event_id: UUID
    name: str
    description: str
    price_minor: int
    pools: tuple[UUID, ...]
    weight: int
    takes_room: bool
    counts_for_max_per_user: bool
    requires_type_id: UUID | None
    min_per_booking: int
    max_per_booking: int
    max_per_user: int | None
    sales_open_at: datetime | None
    sales_close_at: datetime | None
    hidden: bool
    position: int
    version: int
    created_at: datetime

    @classmethod
    def of(cls, ticket_type: TicketType) -> TicketTypeShown:
        """A ticket type that is not archived."""
        return cls(**{name: getattr(ticket_type, name) for name in cls.__struct_fields__})


class TicketTypeController(Controller):
    """The ticket types of an event."""

    path = "/events/{event_id:uuid}/ticket-types"
    tags = ("Ticket types",)

    @get("/", **access(ANYONE, refuses=(EventNotFound, PromoCodeInvalid)))
    async def page(
        self, request: Request[Any, Any, Any], event_id: FromPath[UUID], promo_code: Code = None
    ) -> Page[TicketTypeShown]:
        """List the ticket types of an event, in the order in which buyers see them.

        Hidden ones are shown to the event's organizer and admins, and with a promo code that unlocks them. An event
        has at most 100, all on one page.
        """
        types: Sequence[TicketType]
        if promo_code is None and await _sees_hidden(request, event_id):
            types = (await process(request).stores.selling.find(event_id)).full_catalogue.types
        else:
            types = await _types_shown(request, event_id, promo_code)
        return Page(items=[TicketTypeShown.of(each) for each in types], next_cursor=None)

    @post(
        "/",
        status_code=201,
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(EventNotFound, EventCancelled, EventOver),
            sends={201: ("ETag",)},
        ),
    )
    async def create(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], data: JSONBody[TicketTypeDraft]
    ) -> Response[TicketTypeShown]:
        """Add a ticket type to an event. It is on sale at once, within its own window."""
        await check_owns(request, event_id)
        made = await process(request).stores.selling.add_type(event_id, data.ticket_type(), caller=request.user.caller)
        return _response(made, status_code=201)

    @patch(
        "/{type_id:uuid}",
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(*WRITE_REFUSALS, TicketTypeNotFound, InUse),
            reads=("If-Match",),
            sends={200: ("ETag",)},
        ),
    )
    async def change(
        self,
        request: Request[Token, Any, Any],
        event_id: FromPath[UUID],
        type_id: FromPath[UUID],
        data: JSONBody[TicketTypePatch],
    ) -> Response[TicketTypeShown]:
        """Change a ticket type. Bookings and holds keep their prices.

        What a ticket takes (`pools`, `weight`, `takes_room`) is fixed while bookings have tickets of the type. With
        `If-Match`, only that version is changed.
        """
        before = (await owned_event(request, event_id)).full_catalogue.ticket_type(type_id)
        changed = await process(request).stores.selling.change_type(
            event_id,
            type_id,
            set_fields(data),
            caller=request.user.caller,
            expected_version=expected_version(request.scope, before.version),
        )
        return _response(changed)

    @delete(
        "/{type_id:uuid}",
        status_code=204,
        **access(
            ORGANIZERS,
            limit="catalogue_update",
            refuses=(*WRITE_REFUSALS, TicketTypeNotFound, InUse),
            reads=("If-Match",),
        ),
    )
    async def archive(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], type_id: FromPath[UUID]
    ) -> None:
        """Take a ticket type off sale for good. Its bookings stay as they are."""
        before = (await owned_event(request, event_id)).full_catalogue.ticket_type(type_id)
        await process(request).stores.selling.archive_type(
            event_id,
            type_id,
            caller=request.user.caller,
            expected_version=expected_version(request.scope, before.version),
        )


async def check_owns(request: Request[Token, Any, Any], event_id: UUID) -> Event:
    """An event of the caller's own, or any for an admin, without its catalogue; raises EventNotFound, Forbidden."""
    event = await process(request).stores.event_actions.find(event_id)
    check_owns_event(request.user, event)
    return event


async def owned_event(request: Request[Token, Any, Any], event_id: UUID) -> Event:
    """The same with its catalogue."""
    await check_owns(request, event_id)
    return await process(request).stores.selling.find(event_id)


def set_fields(body: Body) -> dict[str, Any]:
    """The fields of a body that are set, as the engine has them: normalized texts, and tuples."""
    return {name: _engine_value(value) for name, value in structs.asdict(body).items() if value is not UNSET}


def _engine_value(value: Any) -> Any:  # noqa: ANN401  (of any field)
    if isinstance(value, str):
        return nfc(value)
    return tuple(value) if isinstance(value, list) else value


async def _sees_hidden(request: Request[Any, Any, Any], event_id: UUID) -> bool:
    """Whether the caller is the event's organizer or an admin."""
    caller: Token | None = request.scope["user"]
    if caller is None or caller.role is not Role.ORGANIZER:
        return caller is not None and caller.role is Role.ADMIN
    return caller.account_id == (await process(request).stores.event_actions.find(event_id)).organizer_id


async def _types_shown(request: Request[Any, Any, Any], event_id: UUID, promo_code: str | None) -> Sequence[TicketType]:
    """The ticket types that buyers see. Wrong promo codes are counted."""
    selling = process(request).stores.selling
    if promo_code is None:
        return await selling.types_shown(event_id)
    guesser = guesser_of(process(request), request.scope, request.scope["user"])
    shown = partial(selling.types_shown, event_id, promo_code=promo_code)
    return await process(request).promo_guesses.tried(guesser, shown)


def _response(ticket_type: TicketType, *, status_code: int = 200) -> Response[TicketTypeShown]:
    headers = {"ETag": version_etag(ticket_type.version)}
    return Response(TicketTypeShown.of(ticket_type), status_code=status_code, headers=headers)
