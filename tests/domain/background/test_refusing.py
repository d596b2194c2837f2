"""Bookings that PostgreSQL refuses are isolated, rejected and released; the rest of the batch is written."""

from __future__ import annotations

from uuid import uuid4

import pytest
from sqlalchemy import text

from domain.background.persisting import persist_once, write
from domain.background.rebuilding import rebuild
from domain.kernel.bookings import BookingStatus, NewBooking
from domain.kernel.partitions import partition_of_event, random_booking_id
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from tests.books import counters, pool, retire, row, rows, taken, unpersisted
from tests.factories import book, make_account, make_accounts, make_event, make_neighbours, make_strangers
from tests.waiting import persist_all


async def test_a_booking_that_postgresql_has_no_ticket_for_is_rejected_and_the_others_are_confirmed(stores):
    event = await make_event(stores, capacity=10)
    bookings = [await book(stores, event, user_id=buyer) for buyer in await make_accounts(stores, 10)]
    await shrink(stores, event, size=7)

    await persist_all(stores)

    found = [await stores.box_office.booking(booking.id) for booking in bookings]
    rejected = [booking for booking in found if booking.status is BookingStatus.REJECTED]
    assert [booking.reason for booking in rejected] == ["sold_out"] * 3
    assert await rows(stores, event) == {"confirmed": 7, "rejected": 3}
    assert await pool(stores, event) == (7, 7)
    assert await taken(stores, event) == 7


async def test_one_refused_booking_of_three_hundred_takes_no_other_with_it(stores):
    sound, broken = await make_neighbours(stores, 2, capacity=1_000)
    buyers = await make_accounts(stores, 299)
    refused = await book(stores, broken, user_id=buyers[0], quantity=2)
    for buyer in buyers:
        await book(stores, sound, user_id=buyer)
    await shrink(stores, broken, size=1)

    await persist_all(stores)

    assert await rows(stores, sound) == {"confirmed": 299}
    assert (await stores.box_office.booking(refused.id)).status is BookingStatus.REJECTED


async def test_a_rejected_booking_returns_its_tickets_once(stores):
    event = await make_event(stores, capacity=4)
    booking = await book(stores, event, quantity=4)
    await shrink(stores, event, size=3)
    await persist_all(stores)
    await shrink(stores, event, size=4)

    cancelled = await stores.box_office.cancel(booking)
    await persist_all(stores)

    assert cancelled.status is BookingStatus.REJECTED
    assert await counters(stores, event) == {}
    assert (await book(stores, event, quantity=4)).status is BookingStatus.PENDING


async def test_a_booking_cancelled_before_its_refusal_stays_cancelled(stores):
    event = await make_event(stores, capacity=4)
    booking = await book(stores, event, quantity=4)
    await shrink(stores, event, size=3)
    partition = partition_of_event(event.id)
    read = await stores.unpersisted.read(partition, limit=10)
    _, refused = await write(stores, read, epoch=stores.scripts.epoch)
    await stores.box_office.cancel(booking)

    await persist_all(stores)

    assert [reason for _, reason in refused] == ["sold_out"]
    assert (await row(stores, booking))["status"] == "cancelled"
    assert await taken(stores, event) == 0


async def test_a_returned_ticket_is_not_refused_to_the_next_buyer_because_of_the_order_of_writing(stores):
    """Bookings of one millisecond are listed in any order; one that is refused splits them up."""
    event, broken = await make_neighbours(stores, 2, capacity=1)
    first = await book(stores, event)
    await persist_all(stores)
    await stores.box_office.cancel(first)
    second = await book(stores, event)
    refused = await book(stores, broken)
    await shrink(stores, broken, size=0)
    redis, waiting = stores.pipeline.redis, f"{{p{partition_of_event(event.id)}}}:unpersisted"
    now_ms = await stores.inventory.now_ms()
    await redis.zadd(waiting, {str(second.id): now_ms - 3, str(first.id): now_ms - 2, str(refused.id): now_ms - 1})

    await persist_all(stores)

    assert (await stores.box_office.booking(second.id)).status is BookingStatus.CONFIRMED
    assert (await stores.box_office.booking(first.id)).status is BookingStatus.CANCELLED
    assert (await stores.box_office.booking(refused.id)).status is BookingStatus.REJECTED


async def test_a_booking_that_no_row_can_be_written_of_does_not_stop_its_partition(stores):
    event = await make_event(stores)
    nobody = NewBooking(random_booking_id(event.id), uuid4(), TicketOrder(event.id, 2))
    await stores.inventory.reserve(nobody, event.terms, looked_up=True)
    sound = await book(stores, event)

    rounds = [await persist_once(stores, partition_of_event(event.id)) for _ in range(3)]

    assert rounds[-1].left == 0
    assert (await stores.box_office.booking(nobody.id)).status is BookingStatus.REJECTED
    assert (await stores.box_office.booking(sound.id)).status is BookingStatus.CONFIRMED
    assert await taken(stores, event) == 1
    # Its record is all that there is of it. The books are checked after the test, as they are without it.
    await retire(stores, nobody)


async def test_a_key_used_for_two_events_does_not_stop_their_partition(stores):
    event, second_event = await reused_key(stores)

    rounds = [await persist_once(stores, partition_of_event(second_event.id)) for _ in range(3)]

    assert rounds[-1].left == 0
    assert (await rows(stores, event), await rows(stores, second_event)) == ({"confirmed": 1}, {"rejected": 1})


async def test_a_key_used_for_two_events_and_cancelled_does_not_stop_their_partition(stores):
    _, second_event = await reused_key(stores)
    (second_id,) = await unpersisted(stores)
    await stores.box_office.cancel(await stores.box_office.booking(second_id))

    rounds = [await persist_once(stores, partition_of_event(second_event.id)) for _ in range(3)]

    assert rounds[-1].left == 0
    assert await taken(stores, second_event) == 0


async def test_a_key_used_for_two_events_does_not_stop_a_rebuild(stores):
    _, second_event = await reused_key(stores)
    await stores.pipeline.redis.script_flush()

    await rebuild(stores)

    assert await unpersisted(stores) == set()
    assert await taken(stores, second_event) == 0
    assert await book(stores, second_event)


async def test_a_booking_that_no_row_can_be_written_of_does_not_stop_a_rebuild(stores):
    event = await make_event(stores)
    nobody = NewBooking(random_booking_id(event.id), uuid4(), TicketOrder(event.id, 2))
    await stores.inventory.reserve(nobody, event.terms, looked_up=True)

    await rebuild(stores)

    assert await unpersisted(stores) == set()
    assert await taken(stores, event) == 0


async def test_a_rejected_booking_is_answered_after_it_retired_and_to_a_retry(stores):
    event = await make_event(stores, capacity=4)
    buyer = await make_account(stores)
    await book(stores, event, user_id=buyer, quantity=2, key="order-7")
    await shrink(stores, event, size=1)
    await persist_all(stores)
    await stores.pipeline.redis.flushall()
    await rebuild(stores)

    retried = await stores.box_office.reserve(Ask.trusted(buyer), TicketOrder(event.id, 2, "order-7"))

    assert (retried.replayed, retried.booking.status) == (True, BookingStatus.REJECTED)
    assert await taken(stores, event) == 0


async def reused_key(stores):
    """One account's key, confirmed for one event and pending for another."""
    buyer = await make_account(stores)
    event, second_event = await make_strangers(stores)
    await book(stores, event, user_id=buyer, key="order-7")
    await persist_all(stores)
    await book(stores, second_event, user_id=buyer, key="order-7")
    return event, second_event


@pytest.fixture(autouse=True)
async def pools_of_full_size(stores):
    """Undoes every `shrink` after the test, before the books are checked."""
    yield
    async with stores.database.begin() as connection:
        await connection.execute(
            text("UPDATE counters SET size = capacity FROM events WHERE id = event_id AND size < capacity")
        )


async def shrink(stores, event, *, size):
    """Set a pool's size past the engine, as a hand in psql would."""
    async with stores.database.begin() as connection:
        await connection.execute(
            text("UPDATE counters SET size = :size WHERE event_id = :id"), {"size": size, "id": event.id}
        )
