"""Rules of an event's changes that depend on what is stored: on its bookings, and on other events of its series."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import CurrencyFixed, Invalid, Unavailable
from domain.store.postgres.holdings import is_all_persisted
from domain.store.postgres.tables import bookings, events
from domain.store.redis.unpersisted_sets import WAITING_MAX

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.sales.events import Event
    from domain.store.redis.inventory import Inventory
    from domain.store.redis.unpersisted_sets import UnpersistedSets


async def check_series(connection: AsyncConnection, event: Event) -> None:
    """Refuse a series that has events of another organizer: an event must not slip into the dates of their show.

    Raises:
        Invalid.
    """
    others = select(events.c.id).where(
        events.c.series_id == event.series_id, events.c.organizer_id != event.organizer_id
    )
    if event.series_id is not None and (await connection.execute(others.limit(1))).first() is not None:
        pointer, message = "/series_id", "belongs to events of another organizer"
        raise Invalid.at(pointer, message)


async def change_currency(
    connection: AsyncConnection, inventory: Inventory, unpersisted: UnpersistedSets, before: Event, after: Event
) -> None:
    """Put the terms of `after` in force, with another currency, if nothing of the event was ever booked.

    From then on Redis refuses orders at the old prices, so what it does not have now will not be booked in the old
    currency. If it is too late, the terms of `before` are in force again. The caller holds the event's row.

    Raises:
        CurrencyFixed: there is a booking, in whatever state: it may be paid late, or paid back.
        Unavailable: too many bookings of other events are not yet persisted to know.
        InventoryUnavailable.
    """
    if before.closed_at is None:
        await inventory.install(after.terms)
    try:
        await _check_unbooked(connection, unpersisted, before)
    except (CurrencyFixed, Unavailable):
        if before.closed_at is None:
            await inventory.install(before.terms)
        raise


async def _check_unbooked(connection: AsyncConnection, unpersisted: UnpersistedSets, event: Event) -> None:
    # Redis first: a booking leaves it only when it is in PostgreSQL.
    waiting = await unpersisted.bookings(partition_of_event(event.id), limit=WAITING_MAX + 1)
    stored = select(bookings.c.id).where(bookings.c.event_id == event.id).limit(1)
    booked = any(each.event_id == event.id for each in waiting)
    if booked or (await connection.execute(stored)).first() is not None:
        detail = "Tickets of this event were booked, so its currency cannot be changed any more."
        raise CurrencyFixed(detail)
    if len(waiting) > WAITING_MAX or not await is_all_persisted(connection, event.id):
        detail = "Bookings are still being stored. Try again."
        raise Unavailable(detail, retry_after_seconds=1)
