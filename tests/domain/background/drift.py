"""Drift between the inventory and the records, planted by tests."""

from __future__ import annotations

from sqlalchemy import text

from domain.kernel.counters import POOL_MAIN, user_counter
from domain.store.redis.keys import counters_key, record_key
from tests.books import unlist
from tests.factories import book
from tests.waiting import persist_all


async def sold(stores, event, number=3):
    """Some confirmed bookings of an event."""
    bookings = [await book(stores, event) for _ in range(number)]
    await persist_all(stores)
    return bookings


async def move(stores, event, counter, by):
    await stores.pipeline.redis.hincrby(counters_key(event.id), counter, by)


async def sql(stores, statement, **values):
    async with stores.database.begin() as connection:
        await connection.execute(text(statement), values)


def faults(outcomes):
    return {(outcome.difference.fault, outcome.difference.subject) for outcome in outcomes}


async def plant_too_high(stores, event):
    await sold(stores, event)
    await move(stores, event, POOL_MAIN, 4)
    return event.id


async def plant_too_low(stores, event):
    await sold(stores, event)
    await move(stores, event, POOL_MAIN, -2)
    return event.id


async def plant_lost_release(stores, event):
    (booking,) = await sold(stores, event, 1)
    await stores.box_office.cancel(booking)
    await move(stores, event, POOL_MAIN, 1)
    await move(stores, event, user_counter(booking.user_id), 1)
    return event.id


async def plant_orphan_record(stores, event):
    await unlist(stores, await book(stores, event))
    return event.id


async def plant_row_without_record(stores, event):
    (booking,) = await sold(stores, event, 1)
    await stores.pipeline.redis.delete(record_key(booking.id))
    await move(stores, event, POOL_MAIN, -1)
    await move(stores, event, user_counter(booking.user_id), -1)
    return event.id


async def plant_other_capacity(stores, event):
    await sql(stores, "UPDATE events SET capacity = 900, terms_token = 'by hand' WHERE id = :id", id=event.id)
    return event.id


async def plant_miscounted_pool(stores, event):
    await sold(stores, event)
    await sql(stores, "UPDATE counters SET taken = taken + 5 WHERE event_id = :id", id=event.id)
    return event.id


PLANTED = (
    plant_too_high,
    plant_too_low,
    plant_lost_release,
    plant_row_without_record,
    plant_other_capacity,
    plant_miscounted_pool,
    plant_orphan_record,
)
"""All but lost counters: those are mended by a rebuild, which mends whatever else there is with them."""
