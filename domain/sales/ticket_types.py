"""Ticket types, pools and promo codes: what buyers of an event choose from, and under which conditions."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

from msgspec import Struct, structs

from domain.kernel.refusals import Missing, PoolNotFound, PromoCodeNotFound, TicketTypeNotFound
from domain.kernel.times import to_ms, to_ms_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

NEVER_MS = 1 << 53
"""The end of a window without an end."""

POOLS_MAX = 50
POOL_DEPTH_MAX = 5
"""Pools of one event, and how deep they are nested."""

TICKET_TYPES_MAX = 100
PROMO_CODES_MAX = 5_000
"""Ticket types and promo codes of one event that are not archived. Each API process keeps them in memory."""


WEIGHT_MAX = 20
"""The most units of a pool that one ticket takes."""

POOL_SIZE_MAX = 1_000_000


class NewTicketType(Struct, frozen=True, kw_only=True):
    """An organizer's description of a ticket type. The fields are those of `TicketType`."""

    name: str
    description: str = ""
    price_minor: int = 0
    pools: tuple[UUID, ...] = ()
    weight: int = 1
    takes_room: bool = True
    counts_for_max_per_user: bool = True
    requires_type_id: UUID | None = None
    min_per_booking: int = 1
    max_per_booking: int = 100
    max_per_user: int | None = None
    sales_open_at: datetime | None = None
    sales_close_at: datetime | None = None
    hidden: bool = False
    position: int = 0

    def of_event(self, event_id: UUID, *, now: datetime, index: int = 0) -> TicketType:
        """A new ticket type of an event. Those that are made together are listed in the order of their `index`."""
        created_at = now + timedelta(microseconds=index)
        return TicketType(id=uuid4(), event_id=event_id, created_at=created_at, **_in_utc(structs.asdict(self)))


class TicketType(Struct, frozen=True, kw_only=True, gc=False):
    """What a buyer chooses. A ticket claims `weight` units of each of its pools and, with `takes_room`, of the event.

    `requires_type_id` names a type of which the buyer must have a ticket, in the same order or booked before.
    """

    id: UUID
    event_id: UUID
    name: str
    description: str = ""
    price_minor: int = 0
    pools: tuple[UUID, ...] = ()
    weight: int = 1
    takes_room: bool = True
    counts_for_max_per_user: bool = True
    requires_type_id: UUID | None = None
    min_per_booking: int = 1
    max_per_booking: int = 100
    max_per_user: int | None = None
    sales_open_at: datetime | None = None
    sales_close_at: datetime | None = None
    hidden: bool = False
    position: int = 0
    version: int = 1
    created_at: datetime
    archived_at: datetime | None = None

    @property
    def window_ms(self) -> tuple[int, int]:
        """When it is sold, within the sales of the event; rounded as in `Terms`."""
        return (
            to_ms_up(self.sales_open_at) if self.sales_open_at else 0,
            to_ms(self.sales_close_at) if self.sales_close_at else NEVER_MS,
        )


class TicketPool(Struct, frozen=True, kw_only=True, gc=False):
    """A named part of the room or the stock of an event. Its size is that of its counter."""

    id: UUID
    event_id: UUID
    name: str
    parent_id: UUID | None = None
    version: int = 1
    created_at: datetime


class NewPromoCodes(Struct, frozen=True, kw_only=True):
    """An organizer's description of a promo code, or of `count` of them by a `pattern` (`code_patterns`)."""

    code: str | None = None
    pattern: str | None = None
    count: int = 1
    max_uses: int | None = None
    max_uses_per_user: int | None = None
    percent_off: int | None = None
    amount_off_minor: int | None = None
    ticket_type_ids: tuple[UUID, ...] | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    unlocks_hidden: bool = False

    def of_event(self, event_id: UUID, texts: Iterable[str], *, now: datetime) -> list[PromoCode]:
        """New promo codes of an event with these texts."""
        fields = _in_utc(structs.asdict(self))
        del fields["code"], fields["pattern"], fields["count"]
        return [PromoCode(id=uuid4(), event_id=event_id, code=text, created_at=now, **fields) for text in texts]


class PromoCode(Struct, frozen=True, kw_only=True, gc=False):
    """A code that changes the price of ticket types or shows hidden ones, for a number of bookings.

    `ticket_type_ids` are the types that it is for, None for all.
    """

    id: UUID
    event_id: UUID
    code: str
    max_uses: int | None = None
    max_uses_per_user: int | None = None
    percent_off: int | None = None
    amount_off_minor: int | None = None
    ticket_type_ids: tuple[UUID, ...] | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    unlocks_hidden: bool = False
    version: int = 1
    created_at: datetime
    archived_at: datetime | None = None

    @property
    def window_ms(self) -> tuple[int, int]:
        """When it can be used; rounded as in `Terms`."""
        return (
            to_ms_up(self.valid_from) if self.valid_from else 0,
            to_ms(self.valid_until) if self.valid_until else NEVER_MS,
        )

    def is_for(self, type_id: UUID) -> bool:
        """Whether it is for a ticket type."""
        return self.ticket_type_ids is None or type_id in self.ticket_type_ids

    def unlocks(self, type_id: UUID) -> bool:
        """Whether it shows a hidden ticket type."""
        return self.unlocks_hidden and self.is_for(type_id)


Thing = TypeVar("Thing", TicketType, TicketPool, PromoCode)


def _found(things: Iterable[Thing], thing_id: UUID, refusal: Missing) -> Thing:
    """The thing with this id; raises the refusal if there is none."""
    found = next((each for each in things if each.id == thing_id), None)
    if found is None:
        raise refusal
    return found


class Catalogue(Struct, frozen=True, gc=False):
    """What an event sells: its ticket types, pools and promo codes, without those that are archived."""

    types: tuple[TicketType, ...]
    pools: tuple[TicketPool, ...] = ()
    codes: tuple[PromoCode, ...] = ()

    def ticket_type(self, type_id: UUID) -> TicketType:
        """The ticket type with this id; raises TicketTypeNotFound."""
        return _found(self.types, type_id, TicketTypeNotFound("The event has no ticket type with this id."))

    def pool(self, pool_id: UUID) -> TicketPool:
        """The pool with this id; raises PoolNotFound."""
        return _found(self.pools, pool_id, PoolNotFound("The event has no pool with this id."))

    def code(self, code_id: UUID) -> PromoCode:
        """The promo code with this id; raises PromoCodeNotFound."""
        return _found(self.codes, code_id, PromoCodeNotFound("The event has no promo code with this id."))

    def with_type(self, changed: TicketType) -> Catalogue:
        """The catalogue with a ticket type that is new or changed; without it if it is archived."""
        return structs.replace(self, types=listed(_with(self.types, changed)))

    def with_pool(self, changed: TicketPool) -> Catalogue:
        """The catalogue with a pool that is new or changed."""
        return structs.replace(self, pools=_with(self.pools, changed))

    def without_pool(self, pool_id: UUID) -> Catalogue:
        """The catalogue without a pool."""
        return structs.replace(self, pools=tuple(each for each in self.pools if each.id != pool_id))

    def with_codes(self, changed: Iterable[PromoCode]) -> Catalogue:
        """The catalogue with promo codes that are new or changed, without those of them that are archived."""
        by_id = {each.id: each for each in self.codes} | {each.id: each for each in changed}
        return structs.replace(self, codes=tuple(each for each in by_id.values() if each.archived_at is None))

    def index(self) -> CatalogueIndex:
        """The catalogue by id and by code."""
        return CatalogueIndex(
            types={each.id: each for each in self.types},
            parents={each.id: each.parent_id for each in self.pools},
            codes={code_key(each.code): each for each in self.codes},
        )


class CatalogueIndex(Struct, frozen=True, gc=False):
    """A catalogue by id and by code, as the terms of an event have it."""

    types: dict[UUID, TicketType]
    parents: dict[UUID, UUID | None]
    codes: dict[str, PromoCode]

    def pools_of(self, ticket_type: TicketType) -> Iterator[UUID]:
        """The pools that a ticket of a type claims: its own, then those that contain them; each once."""
        seen: set[UUID] = set()
        level: list[UUID] = list(ticket_type.pools)
        while level:
            found = [pool_id for pool_id in dict.fromkeys(level) if pool_id not in seen]
            seen.update(found)
            yield from found
            level = [above for pool_id in found if (above := self.parents.get(pool_id)) is not None]


def listed(types: Iterable[TicketType]) -> tuple[TicketType, ...]:
    """Ticket types that are not archived, in the order in which buyers see them."""
    current = [each for each in types if each.archived_at is None]
    return tuple(sorted(current, key=lambda each: (each.position, each.created_at)))


def changed_fields(before: Thing, changes: dict[str, Any]) -> dict[str, Any]:
    """Those of the changes that change something."""
    return {name: value for name, value in changes.items() if value != getattr(before, name)}


def next_version(before: Thing, changed: dict[str, Any]) -> Thing:
    """The thing with changed fields in UTC, and with the next version unless nothing changed."""
    return structs.replace(before, **_in_utc(changed), version=before.version + bool(changed))


def code_key(code: str) -> str:
    """The text by which a promo code is found: case and the spelling of accents in Unicode make no difference."""
    return unicodedata.normalize("NFC", code.strip().casefold())


def general_admission(event_id: UUID, created_at: datetime) -> TicketType:
    """The only ticket type of an event that says nothing of types: free, with the event's own id."""
    return TicketType(id=event_id, event_id=event_id, name=GENERAL_ADMISSION, created_at=created_at)


GENERAL_ADMISSION = "General admission"


def _with(things: tuple[Thing, ...], changed: Thing) -> tuple[Thing, ...]:
    by_id = {each.id: each for each in things} | {changed.id: changed}
    return tuple(by_id.values())


def _in_utc(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value.astimezone(UTC) if isinstance(value, datetime) else value for name, value in fields.items()}
