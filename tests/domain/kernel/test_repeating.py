"""An account and an idempotency key name one booking, after retries, losses and wipes."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from domain.background.rebuilding import rebuild
from domain.kernel.bookings import BookingStatus, NewBooking
from domain.kernel.refusals import IdempotencyKeyReused, SoldOut
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from tests.books import retire, row, rows, taken
from tests.factories import book, make_account, make_event, make_neighbours, make_strangers
from tests.waiting import persist_all


async def test_the_same_key_twice_is_one_booking(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)

    first = await reserve(stores, event, buyer, key="order-7", quantity=2)
    again = await reserve(stores, event, buyer, key="order-7", quantity=2)

    assert (first.replayed, again.replayed) == (False, True)
    assert again.booking == first.booking
    assert await taken(stores, event) == 2


async def test_one_key_used_fifty_times_at_once_is_one_booking(stores, other_stores):
    event = await make_event(stores)
    buyer = await make_account(stores)

    answers = await asyncio.gather(
        *(reserve((stores, other_stores)[number % 2], event, buyer, key="order-7", quantity=2) for number in range(50))
    )

    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 49
    assert {answer.booking for answer in answers} == {answers[0].booking}
    assert await taken(stores, event) == 2


async def test_one_key_of_two_accounts_is_two_bookings(stores):
    event = await make_event(stores)

    one = await book(stores, event, key="order-7")
    other = await book(stores, event, key="order-7")

    assert one.id != other.id


async def test_no_key_is_another_booking_each_time(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)

    one = await book(stores, event, user_id=buyer)
    other = await book(stores, event, user_id=buyer)

    assert one.id != other.id
    assert await taken(stores, event) == 2


async def test_a_key_for_another_quantity_is_a_mismatch(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    await reserve(stores, event, buyer, key="order-7", quantity=2)

    with pytest.raises(IdempotencyKeyReused):
        await reserve(stores, event, buyer, key="order-7", quantity=3)

    assert await taken(stores, event) == 2


async def test_a_key_for_another_quantity_is_a_mismatch_after_the_record_retired(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, key="order-7", quantity=2)
    await persist_all(stores)
    await retire(stores, booking)

    with pytest.raises(IdempotencyKeyReused):
        await reserve(stores, event, buyer, key="order-7", quantity=3)


@pytest.mark.parametrize("make_two", [make_strangers, partial(make_neighbours, number=2)])
async def test_a_key_for_another_event_never_makes_a_second_booking_that_lasts(stores, make_two):
    event, other_event = await make_two(stores)
    buyer = await make_account(stores)
    first = await book(stores, event, user_id=buyer, key="order-7")
    await persist_all(stores)
    await retire(stores, first)

    try:
        second = await book(stores, other_event, user_id=buyer, key="order-7")
    except IdempotencyKeyReused:
        second = None
    await persist_all(stores)

    assert await rows(stores, event) == {"confirmed": 1}
    assert await rows(stores, other_event) in ({}, {"rejected": 1})
    assert await taken(stores, other_event) == 0
    assert second is None or (await stores.box_office.booking(second.id)).status is BookingStatus.REJECTED
    assert (await stores.ledger.find(first.id)).event_id == event.id


async def test_a_retry_after_the_record_retired_answers_the_booking_made_before(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, key="order-7", quantity=2)
    await persist_all(stores)
    await retire(stores, booking)

    retried = await reserve(stores, event, buyer, key="order-7", quantity=2)

    assert (retried.replayed, retried.booking.id) == (True, booking.id)
    assert retried.booking.status is BookingStatus.CONFIRMED
    assert await taken(stores, event) == 2


async def test_a_retry_is_answered_when_the_event_is_sold_out(stores):
    event = await make_event(stores, capacity=2)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, key="order-7", quantity=2)
    await persist_all(stores)
    await retire(stores, booking)

    retried = await reserve(stores, event, buyer, key="order-7", quantity=2)

    assert retried.booking.id == booking.id
    with pytest.raises(SoldOut):
        await book(stores, event)


async def test_a_retry_is_answered_when_redis_was_wiped_and_the_event_is_sold_out(stores):
    event = await make_event(stores, capacity=2)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, key="order-7", quantity=2)
    await persist_all(stores)
    await stores.pipeline.redis.flushall()
    await rebuild(stores)

    retried = await reserve(stores, event, buyer, key="order-7", quantity=2)

    assert (retried.replayed, retried.booking.id) == (True, booking.id)
    assert await taken(stores, event) == 2


async def test_fifty_retries_at_once_after_a_wipe_are_one_booking(stores, other_stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    await book(stores, event, user_id=buyer, key="order-7", quantity=2)
    await stores.pipeline.redis.flushall()
    await rebuild(stores)
    await other_stores.scripts.refresh()

    answers = await asyncio.gather(
        *(reserve((stores, other_stores)[number % 2], event, buyer, key="order-7", quantity=2) for number in range(50))
    )
    await persist_all(stores)

    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 49
    assert await rows(stores, event) == {"confirmed": 1}
    assert await taken(stores, event) == 2


async def test_a_retry_of_a_cancelled_booking_answers_it_and_takes_nothing(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, key="order-7")
    await stores.box_office.cancel(booking)
    await persist_all(stores)
    await retire(stores, booking)

    retried = await reserve(stores, event, buyer, key="order-7")

    assert (retried.replayed, retried.booking.status) == (True, BookingStatus.CANCELLED)
    assert await taken(stores, event) == 0


async def test_a_script_that_ran_twice_took_the_tickets_once(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, quantity=3)

    new = NewBooking(booking.id, buyer, TicketOrder(event.id, 3))
    again = await stores.inventory.reserve(new, event.terms, looked_up=True)

    assert (again.replayed, again.booking) == (True, booking)
    assert await taken(stores, event) == 3
    assert await row(stores, booking) is None


async def reserve(stores, event, buyer, *, key, quantity=1):
    return await stores.box_office.reserve(Ask.trusted(buyer), TicketOrder(event.id, quantity, key))
