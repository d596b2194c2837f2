"""With `DURABILITY=postgres`, acknowledged bookings survive the loss of Redis and its data."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import UUID

import pytest
from msgspec import structs
from sqlalchemy import text

from domain.background.persisting import BATCH_MAX
from domain.background.rebuilding import rebuild
from domain.engine import open_stores
from domain.kernel.bookings import Booking, BookingStatus, NewBooking
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.partitions import partition_of_event, random_booking_id
from domain.kernel.refusals import InventoryUnavailable, Unavailable
from domain.kernel.unpersisted import Unpersisted
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from ops.chaos.protections import Protection, without
from tests.books import pool, rows, taken, unpersisted
from tests.factories import book, make_account, make_accounts, make_event, reduce
from tests.waiting import persist_all

DURABLE = {"durability": "postgres"}


@pytest.fixture
async def durable(stores, settings):
    """The stores of a process with `DURABILITY=postgres`."""
    async with open_stores(settings.model_copy(update=DURABLE)) as durable:
        await durable.scripts.refresh()
        yield durable
    await stores.scripts.refresh()


async def lose_redis(stores):
    """Lose everything in Redis, and begin again."""
    await stores.pipeline.redis.flushall()
    return await rebuild(stores)


def numbered(event, user_id, first_byte, number):
    """A booking of one ticket that is the later in order of id the higher its number is."""
    return Booking(
        id=UUID(bytes=first_byte + number.to_bytes(14, "little") + bytes([partition_of_event(event.id)])),
        event_id=event.id,
        user_id=user_id,
        quantity=1,
        status=BookingStatus.PENDING,
        version=1,
        created_at=datetime.now(UTC),
        claims=f"{user_counter(user_id)}=1 {POOL_MAIN}=1",
    )


async def intents(stores):
    async with stores.database.connect() as connection:
        return (await connection.execute(text("SELECT count(*) FROM intents"))).scalar_one()


async def forget_intents(stores, booking):
    """Let a change of a booking have died before its intent was written."""
    async with stores.database.begin() as connection:
        await connection.execute(text("DELETE FROM intents WHERE id = :id"), {"id": booking.id})


async def test_acknowledged_bookings_are_confirmed_after_redis_was_lost(durable):
    event = await make_event(durable, capacity=100)
    buyers = await make_accounts(durable, 60)
    bookings = await asyncio.gather(*(book(durable, event, user_id=buyer) for buyer in buyers))

    rebuilt = await lose_redis(durable)

    assert rebuilt.drained == 60
    assert {(await durable.box_office.booking(booking.id)).status for booking in bookings} == {BookingStatus.CONFIRMED}
    assert await taken(durable, event) == 60
    assert await pool(durable, event) == (100, 60)


async def test_a_booking_without_a_body_has_none_after_redis_was_lost(durable):
    """SQLAlchemy writes None into a column of JSON as the value null, unless it is told not to."""
    booking = await book(durable, await make_event(durable))

    await lose_redis(durable)

    assert (await durable.ledger.find(booking.id)).body is None


async def test_without_it_a_loss_of_redis_loses_what_was_pending(stores):
    event = await make_event(stores)
    await book(stores, event)

    await lose_redis(stores)

    assert await rows(stores, event) == {}


async def test_without_its_protection_it_would_lose_what_was_pending(stores, settings):
    durable_settings = settings.model_copy(update=DURABLE)
    with without(Protection.INTENT):
        async with open_stores(durable_settings) as durable:
            await durable.scripts.refresh()
            event = await make_event(durable)
            await book(durable, event)

            await lose_redis(durable)

    await stores.scripts.refresh()
    assert await rows(stores, event) == {}


async def test_an_acknowledged_cancellation_stays_one_after_redis_was_lost(durable):
    event = await make_event(durable, capacity=10)
    kept, cancelled = await book(durable, event, quantity=4), await book(durable, event, quantity=3)
    await persist_all(durable)
    await durable.box_office.cancel(cancelled)

    await lose_redis(durable)

    assert (await durable.box_office.booking(cancelled.id)).status is BookingStatus.CANCELLED
    assert (await durable.box_office.booking(kept.id)).status is BookingStatus.CONFIRMED
    assert await taken(durable, event) == 4
    assert await rows(durable, event) == {"confirmed": 1, "cancelled": 1}


async def test_a_booking_made_and_cancelled_while_pending_is_cancelled_after_redis_was_lost(durable):
    event = await make_event(durable)
    booking = await book(durable, event)
    await durable.box_office.cancel(booking)

    await lose_redis(durable)

    assert (await durable.box_office.booking(booking.id)).status is BookingStatus.CANCELLED
    assert await taken(durable, event) == 0


async def test_an_acknowledged_reduction_stays_one_after_redis_was_lost(durable):
    """Also one whose caller had no answer, once it was repeated."""
    event = await make_event(durable, capacity=10)
    reduced, pending = await book(durable, event, quantity=4), await book(durable, event, quantity=3)
    await persist_all(durable)
    unanswered = await book(durable, event, quantity=3)
    await persist_all(durable)
    await reduce(durable, reduced, 2)
    await reduce(durable, pending, 1)
    await reduce(durable, unanswered, 1)
    await forget_intents(durable, unanswered)
    await reduce(durable, unanswered, 1)

    await lose_redis(durable)

    told = [await durable.box_office.booking(each.id) for each in (reduced, pending, unanswered)]
    assert [(each.status, each.quantity) for each in told] == [
        (BookingStatus.CONFIRMED, 2),
        (BookingStatus.CONFIRMED, 1),
        (BookingStatus.CONFIRMED, 1),
    ]
    assert await taken(durable, event) == 4


async def test_what_was_given_back_in_part_and_sold_again_is_confirmed_after_redis_was_lost(durable):
    """More than two batches, in which all that took tickets comes before all that gave them back."""
    number = 2 * BATCH_MAX
    event = await make_event(durable, capacity=2 * number)
    buyer, epoch = await make_account(durable), durable.scripts.epoch
    two = {"quantity": 2, "claims": f"{user_counter(buyer)}=2 {POOL_MAIN}=2"}
    sold = [structs.replace(numbered(event, buyer, b"\xff", each), **two) for each in range(number)]
    for first in range(0, number, BATCH_MAX):
        batch = [Unpersisted.of(booking, epoch=epoch) for booking in sold[first : first + BATCH_MAX]]
        await durable.ledger.persist(batch, epoch=epoch)
    one = {"quantity": 1, "claims": f"{user_counter(buyer)}=1 {POOL_MAIN}=1"}
    kept = {"status": BookingStatus.CONFIRMED, "version": 2, "taken_at": datetime.now(UTC), **one}
    reduced = [structs.replace(booking, **kept) for booking in sold]
    sold_again = [numbered(event, buyer, b"\x00", each) for each in range(number)]
    await asyncio.gather(*(durable.intents.append(each, epoch=epoch) for each in (*reduced, *sold_again)))

    await lose_redis(durable)

    assert await rows(durable, event) == {"confirmed": 2 * number}
    assert await pool(durable, event) == (2 * number, 2 * number)


async def test_a_retry_after_redis_was_lost_answers_the_booking_made_before(durable):
    event = await make_event(durable, capacity=2)
    buyer = await make_account(durable)
    booking = await book(durable, event, user_id=buyer, quantity=2, key="order-7")
    await lose_redis(durable)

    again = await durable.box_office.reserve(Ask.trusted(buyer), TicketOrder(event.id, 2, "order-7"))

    assert (again.replayed, again.booking.id) == (True, booking.id)
    assert await taken(durable, event) == 2


async def test_redis_lost_twice_loses_nothing(durable):
    event = await make_event(durable)
    first = await book(durable, event)
    await lose_redis(durable)
    second = await book(durable, event)

    await lose_redis(durable)

    assert {(await durable.box_office.booking(each.id)).status for each in (first, second)} == {BookingStatus.CONFIRMED}
    assert await rows(durable, event) == {"confirmed": 2}


async def test_what_was_returned_and_sold_again_is_confirmed_after_redis_was_lost(durable):
    """More than two batches, in which all that took tickets comes before all that returned them."""
    number = 2 * BATCH_MAX
    event = await make_event(durable, capacity=number)
    buyer, epoch = await make_account(durable), durable.scripts.epoch
    sold = [numbered(event, buyer, b"\xff", each) for each in range(number)]
    for first in range(0, number, BATCH_MAX):
        batch = [Unpersisted.of(booking, epoch=epoch) for booking in sold[first : first + BATCH_MAX]]
        await durable.ledger.persist(batch, epoch=epoch)
    cancelled = {"status": BookingStatus.CANCELLED, "version": 2, "cancelled_at": datetime.now(UTC)}
    returned = [structs.replace(booking, **cancelled) for booking in sold]
    sold_again = [numbered(event, buyer, b"\x00", each) for each in range(number)]
    await asyncio.gather(*(durable.intents.append(each, epoch=epoch) for each in (*returned, *sold_again)))

    await lose_redis(durable)

    assert await rows(durable, event) == {"cancelled": number, "confirmed": number}
    assert await pool(durable, event) == (number, number)


async def test_intents_are_forgotten_once_bookings_has_them(durable):
    event = await make_event(durable)
    await book(durable, event)
    before = await intents(durable)

    await persist_all(durable)

    assert (before, await intents(durable)) == (1, 0)


async def test_an_intent_that_came_after_its_booking_was_persisted_is_forgotten_later(durable):
    event = await make_event(durable)
    booking = await book(durable, event)
    await persist_all(durable)
    await durable.intents.append(booking, epoch=durable.scripts.epoch)

    forgotten = await durable.intents.forget_kept()

    assert (forgotten, await intents(durable)) == (1, 0)


async def test_intents_that_bookings_does_not_have_are_kept(durable):
    event = await make_event(durable)
    booking = await book(durable, event)
    await persist_all(durable)
    await durable.box_office.cancel(booking)

    await durable.intents.forget_kept()

    assert await intents(durable) == 1


async def test_nothing_is_acknowledged_whose_epoch_ended_in_between(durable, stores):
    event = await make_event(durable)
    booking = await book(stores, event)
    epoch = stores.scripts.epoch
    await rebuild(stores)
    await durable.scripts.refresh()

    reserved = await durable.inventory.reserve(fresh(booking, event), event.terms, looked_up=True)

    with pytest.raises(InventoryUnavailable):
        await durable.box_office._acknowledge(type(reserved)(reserved.booking, epoch, replayed=False, ring=False))
    assert await intents(durable) == 0


async def test_nothing_is_acknowledged_while_postgresql_keeps_no_intents(durable):
    event = await make_event(durable)
    async with durable.database.begin() as connection:
        await connection.execute(text("ALTER TABLE intents RENAME TO away"))

    try:
        with pytest.raises(Unavailable):
            await book(durable, event)
    finally:
        async with durable.database.begin() as connection:
            await connection.execute(text("ALTER TABLE away RENAME TO intents"))
    assert len(await unpersisted(durable)) == 1


async def test_a_retry_of_what_was_not_acknowledged_is_acknowledged(durable, stores):
    event = await make_event(durable)
    buyer = await make_account(durable)
    made = await book(stores, event, user_id=buyer, key="order-7")

    again = await book(durable, event, user_id=buyer, key="order-7")
    await lose_redis(durable)

    assert again.id == made.id
    assert await rows(durable, event) == {"confirmed": 1}


def fresh(booking, event):
    return NewBooking(random_booking_id(event.id), booking.user_id, TicketOrder(event.id, 1))
