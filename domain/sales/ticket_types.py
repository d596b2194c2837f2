"""Ticket types, pools and promo codes: what buyers of an event choose from, and under which conditions."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.kernel.times import to_ms, to_ms_up

if TYPE_CHECKING:
    from collections.abc import Iterator

NEVER_MS = 1 << 53
"""The end of a window without an end."""

POOLS_MAX = 50
POOL_DEPTH_MAX = 5
"""Pools of one event, and how deep they are nested."""

TICKET_TYPES_MAX = 100
PROMO_CODES_MAX = 5_000
"""Ticket types and promo codes of one event that are not archived. Each API process keeps them in memory."""


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


class Catalogue(Struct, frozen=True, gc=False):
    """What an event sells: its ticket types, pools and promo codes, without those that are archived."""

    types: tuple[TicketType, ...]
    pools: tuple[TicketPool, ...] = ()
    codes: tuple[PromoCode, ...] = ()

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


def code_key(code: str) -> str:
    """The text by which a promo code is found: case makes no difference."""
    return code.strip().casefold()


def general_admission(event_id: UUID, created_at: datetime) -> TicketType:
    """The only ticket type of an event that says nothing of types: free, with the event's own id."""
    return TicketType(id=event_id, event_id=event_id, name=GENERAL_ADMISSION, created_at=created_at)


GENERAL_ADMISSION = "General admission"
