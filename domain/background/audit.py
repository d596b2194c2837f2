"""The audit: compares the counts of every event in Redis and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.background.rebuilding import in_order
from domain.background.reconciling import reconcile_page
from domain.kernel.bookings import HOLDING, Booking
from domain.kernel.claims import read_claims
from domain.kernel.differences import Repair
from domain.kernel.partitions import PARTITIONS
from domain.kernel.refusals import InventoryUnavailable
from domain.sales.events import ROOM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.engine import Stores
    from domain.sales.events import Event

EVENTS_PER_PAGE = 500
UNPERSISTED_READ_MAX = 100_000
"""Unpersisted bookings that an audit reads of a partition; back-pressure keeps a partition far below it."""


class EventBooks(Struct, frozen=True, kw_only=True):
    """The tickets of an event, counted in Redis and in PostgreSQL.

    `drift` is `size` - `remaining` - `pending` - `confirmed`, which is 0 when every ticket is accounted for.
    `row_drift` is the sum of the differences between PostgreSQL's own counts, of all counters, and its bookings.
    `other_drift` is the number of other counters in Redis, such as those of accounts, that differ from the bookings.
    """

    event_id: UUID
    title: str
    size: int
    remaining: int
    pending: int
    confirmed: int
    drift: int
    row_drift: int = 0
    other_drift: int = 0

    @property
    def in_order(self) -> bool:
        """Whether there is no difference."""
        return not (self.drift or self.row_drift or self.other_drift)


class Pending(Struct):
    """The changes that unpersisted bookings of an event will make in PostgreSQL, in tickets."""

    reserved: int = 0
    released: int = 0


async def audit(stores: Stores, event_id: UUID | None = None) -> list[EventBooks]:
    """Compare the counts of every event, or of one.

    The result is exact when there is no traffic; under load a difference may be a booking in flight.

    Raises:
        EventNotFound, Unavailable.
        InventoryUnavailable: a rebuild has not refilled an event yet.
    """
    if event_id is not None:
        return await _audit_page(stores, [await stores.events.find(event_id)])
    books: list[EventBooks] = []
    last = None
    while page := await stores.events.after(last, limit=EVENTS_PER_PAGE, closed=True):
        last = page[-1].id
        books += await _audit_page(stores, page)
    return books


async def _audit_page(stores: Stores, page: Sequence[Event]) -> list[EventBooks]:
    ids = [event.id for event in page]
    await _refuse_during_rebuild(stores, [event.id for event in page if not event.closed_at])
    pending = await _pending(stores)
    taken = await stores.inventory.taken(ids)
    stored = await stores.ledger.taken(ids)
    wrong_counters = Counter(
        outcome.difference.event_id
        for outcome in await reconcile_page(stores, ids, fix=False)
        if outcome.difference.repair is Repair.MEND_COUNTER and outcome.difference.subject != ROOM
    )
    books = []
    for event, found in zip(page, taken, strict=True):
        rows, waiting = stored[event.id], pending.get(event.id, Pending())
        room = rows[ROOM]
        # A closed event has no counters in Redis; only PostgreSQL counts its tickets.
        remaining = event.capacity - (room.counted if event.closed_at else found or 0)
        confirmed = room.booked - waiting.released
        books.append(
            EventBooks(
                event_id=event.id,
                title=event.title,
                size=event.capacity,
                remaining=remaining,
                pending=waiting.reserved,
                confirmed=confirmed,
                drift=event.capacity - remaining - waiting.reserved - confirmed,
                row_drift=sum(abs(row.counted - row.booked) for row in rows.values()),
                other_drift=wrong_counters[event.id],
            )
        )
    return books


async def _refuse_during_rebuild(stores: Stores, event_ids: Sequence[UUID]) -> None:
    """Raise InventoryUnavailable if a rebuild has not refilled one of these events yet."""
    if await stores.inventory.uninstalled(event_ids) and not await in_order(stores):
        raise InventoryUnavailable.rebuilding()


async def _pending(stores: Stores) -> dict[UUID, Pending]:
    """The unpersisted changes per event: tickets reserved, and tickets to be returned."""
    pending: dict[UUID, Pending] = {}
    for partition in range(PARTITIONS):
        bookings = await stores.unpersisted.bookings(partition, limit=UNPERSISTED_READ_MAX)
        stored = await stores.ledger.find_all([booking.id for booking in bookings])
        for booking in bookings:
            _count(pending.setdefault(booking.event_id, Pending()), booking, stored.get(booking.id))
    return pending


def _count(waiting: Pending, booking: Booking, stored: Booking | None) -> None:
    taken, stored_taken = _tickets(booking), _tickets(stored)
    waiting.reserved += max(0, taken - stored_taken)
    waiting.released += max(0, stored_taken - taken)


def _tickets(booking: Booking | None) -> int:
    """The tickets of the event's room that a booking holds."""
    if booking is None or booking.status not in HOLDING:
        return 0
    return read_claims(booking.known_claims).get(ROOM, 0)
