"""The independent checker reads real servers past the engine, and finds each difference that is planted there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.refusals import AlreadyPaid
from domain.store.redis.admission import Ask
from domain.store.redis.keys import counters_key, record_key
from ops.evidence.books import wait_until_final
from tests.books import differences
from tests.domain.kernel.orders import AnyOrder
from tests.domain.payments.money import hold_priced, pay, settle
from tests.factories import book, make_account, make_event
from tests.waiting import persist_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.platform.settings import Settings

STATEMENTS = {
    "the pool": "UPDATE counters SET taken = taken - 1",
    "the size of the pool": "UPDATE counters SET size = size + 1",
    "a row that is gone": "DELETE FROM bookings",
    "the capacity": "UPDATE events SET capacity = 1",
    "the quantity of a row": "UPDATE bookings SET quantity = 1",
}


async def count(stores: Stores, booking: Booking) -> None:
    await stores.pipeline.redis.hincrby(counters_key(booking.event_id), POOL_MAIN, 1)


async def count_of_account(stores: Stores, booking: Booking) -> None:
    await stores.pipeline.redis.hincrby(counters_key(booking.event_id), user_counter(booking.user_id), -1)


async def forget(stores: Stores, booking: Booking) -> None:
    await stores.pipeline.redis.delete(counters_key(booking.event_id))


async def change_version(stores: Stores, booking: Booking) -> None:
    await stores.pipeline.redis.hincrby(record_key(booking.id), "version", 1)


async def change_quantity(stores: Stores, booking: Booking) -> None:
    await stores.pipeline.redis.hset(record_key(booking.id), "quantity", 1)


@pytest.mark.parametrize("plant", [count, count_of_account, forget, change_version, change_quantity])
async def test_a_difference_in_redis_is_found(
    stores: Stores, plant: Callable[[Stores, Booking], Awaitable[None]]
) -> None:
    booking = await book(stores, await make_event(stores), quantity=2)
    await persist_all(stores)
    assert await differences(stores) == []

    await plant(stores, booking)

    assert await differences(stores)


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
async def test_a_difference_in_postgresql_is_found(stores: Stores, statement: str) -> None:
    await book(stores, await make_event(stores), quantity=2)
    await persist_all(stores)
    assert await differences(stores) == []

    async with stores.database.begin() as connection:
        await connection.execute(text(statement))

    assert await differences(stores)


SEATS_STATEMENTS = {
    "a single that is gone": "DELETE FROM seats",
    "a single that nobody holds": "INSERT INTO seats SELECT event_id, 'seat:A-2', booking_id FROM seats",
    "a single in another booking's row": "UPDATE seats SET booking_id = event_id",
    "a single that is sold twice": """
        INSERT INTO bookings
        SELECT (jsonb_populate_record(bookings, jsonb_build_object('id', event_id))).* FROM bookings
    """,
}


@pytest.mark.parametrize("statement", SEATS_STATEMENTS.values(), ids=SEATS_STATEMENTS)
async def test_a_difference_of_a_single_is_found(stores: Stores, statement: str) -> None:
    order = AnyOrder((await make_event(stores)).id, (("seat:A-1", 1),))
    await stores.box_office.reserve(Ask.trusted(await make_account(stores)), order)
    await persist_all(stores)
    assert await differences(stores) == []

    async with stores.database.begin() as connection:
        await connection.execute(text(statement))

    assert await differences(stores)


MONEY = {
    "a payment": "UPDATE payments SET amount_minor = amount_minor + 1 WHERE state = 'applied'",
    "a refund": "DELETE FROM refunds",
    "the amount of a refund": "UPDATE refunds SET amount_minor = amount_minor - 1",
    "what was kept": "UPDATE payments SET kept_minor = 1 WHERE state = 'applied'",
    "the price of a booking": "UPDATE bookings SET amount_minor = amount_minor - 1",
}


@pytest.mark.parametrize("statement", MONEY.values(), ids=MONEY)
async def test_money_that_does_not_add_up_is_found(stores: Stores, statement: str) -> None:
    held = await hold_priced(stores, await make_event(stores))
    await pay(stores, held)
    with pytest.raises(AlreadyPaid):
        await pay(stores, held, "transfer 2")
    assert await differences(stores) == []
    await settle(stores)
    assert await differences(stores) == []

    async with stores.database.begin() as connection:
        await connection.execute(text(statement))

    assert await differences(stores)


async def test_what_is_not_yet_persisted_is_no_difference(stores: Stores) -> None:
    event = await make_event(stores)
    await book(stores, event)
    cancelled = await book(stores, event)
    await persist_all(stores)
    await book(stores, event)
    await stores.box_office.cancel(cancelled)

    assert await differences(stores) == []


async def test_bookings_are_final_when_all_of_them_have_rows(stores: Stores, settings: Settings) -> None:
    event = await make_event(stores)
    booking = await book(stores, event)
    assert await wait_until_final(settings, [event.id], [booking.id], seconds_max=0.2) is None

    await persist_all(stores)

    assert await wait_until_final(settings, [event.id], [booking.id], seconds_max=30) is not None
