"""The life of a booking: reserved, persisted, expired from Redis, cancelled."""

from __future__ import annotations

import pytest

from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import user_counter
from domain.kernel.event_status import EventStatus
from domain.kernel.partitions import random_booking_id
from domain.kernel.refusals import BookingNotFound, EventNotFound
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from tests.books import counters, pool, record, retire, row, unpersisted
from tests.factories import as_polled, book, make_account, make_event
from tests.waiting import eventually, persist_all


async def test_a_reserved_booking_is_pending_and_holds_its_claims(stores):
    event = await make_event(stores, capacity=10)
    buyer = await make_account(stores)

    booking = await book(stores, event, user_id=buyer, quantity=3)

    assert booking.status is BookingStatus.PENDING
    assert await counters(stores, event) == {"pool:main": 3, user_counter(buyer): 3}
    assert await unpersisted(stores) == {booking.id}
    assert await row(stores, booking) is None


async def test_a_persisted_booking_is_confirmed_in_both_stores(stores):
    event = await make_event(stores, capacity=10)
    booking = await book(stores, event, quantity=3)

    await persist_all(stores)

    confirmed = await stores.box_office.booking(booking.id)
    assert confirmed.status is BookingStatus.CONFIRMED
    assert confirmed.confirmed_at >= confirmed.created_at == booking.created_at
    assert (await row(stores, booking))["status"] == "confirmed"
    assert await pool(stores, event) == (10, 3)
    assert await unpersisted(stores) == set()


async def test_a_retired_booking_is_still_answered_the_same(stores):
    event = await make_event(stores)
    booking = await book(stores, event, quantity=2)
    await persist_all(stores)
    before = await stores.box_office.booking(booking.id)

    await retire(stores, booking)

    assert await record(stores, booking) is None
    assert as_polled(await stores.box_office.booking(booking.id)) == before


async def test_a_cancelled_booking_gives_its_claims_back_at_once(stores):
    event = await make_event(stores, capacity=5)
    booking = await book(stores, event, quantity=5)
    await persist_all(stores)

    cancelled = await stores.box_office.cancel(booking)

    assert cancelled.status is BookingStatus.CANCELLED
    assert cancelled.cancelled_at >= booking.created_at
    assert await counters(stores, event) == {}
    assert (await book(stores, event, quantity=5)).status is BookingStatus.PENDING


async def test_a_cancellation_is_persisted_like_a_booking(stores):
    event = await make_event(stores, capacity=5)
    booking = await book(stores, event, quantity=4)
    await persist_all(stores)
    cancelled = await stores.box_office.cancel(booking)

    await persist_all(stores)

    stored = await row(stores, booking)
    assert (stored["status"], stored["cancelled_at"]) == ("cancelled", cancelled.cancelled_at)
    assert stored["confirmed_at"] is not None
    assert await pool(stores, event) == (5, 0)
    assert await unpersisted(stores) == set()


async def test_a_booking_cancelled_while_pending_never_takes_a_ticket_in_postgresql(stores):
    event = await make_event(stores, capacity=5)
    booking = await book(stores, event, quantity=4)

    await stores.box_office.cancel(booking)
    await persist_all(stores)

    stored = await row(stores, booking)
    assert (stored["status"], stored["confirmed_at"]) == ("cancelled", None)
    assert await pool(stores, event) == (5, 0)


async def test_a_booking_cancelled_after_its_record_retired_gives_its_claims_back(stores):
    event = await make_event(stores, capacity=5)
    booking = await book(stores, event, quantity=4)
    await persist_all(stores)
    await retire(stores, booking)

    await stores.box_office.cancel(booking)
    await persist_all(stores)

    assert await counters(stores, event) == {}
    assert (await row(stores, booking))["status"] == "cancelled"


async def test_a_booking_looks_the_same_before_and_after_each_step(stores):
    event = await make_event(stores)
    booking = await book(stores, event, quantity=2)

    await persist_all(stores)
    await stores.box_office.cancel(booking)
    from_record = await stores.box_office.booking(booking.id)
    await persist_all(stores)
    await retire(stores, booking)
    from_row = await stores.box_office.booking(booking.id)

    assert from_record == as_polled(from_row)


async def test_the_books_of_an_account_list_pending_and_persisted_bookings_newest_first(stores):
    buyer = await make_account(stores)
    events = [await make_event(stores) for _ in range(3)]
    first = await book(stores, events[0], user_id=buyer)
    await persist_all(stores)
    second = await book(stores, events[1], user_id=buyer)
    await eventually(stores.inventory.now_ms, is_so=lambda now: now > second.created_at.timestamp() * 1000)
    third = await book(stores, events[2], user_id=buyer)

    page = await stores.box_office.bookings_of(buyer, limit=10, before=None)
    rest = await stores.box_office.bookings_of(buyer, limit=10, before=(third.created_at, third.id))

    assert [booking.id for booking in page] == [third.id, second.id, first.id]
    assert [booking.status for booking in page] == ["pending", "pending", "confirmed"]
    assert [booking.id for booking in rest] == [second.id, first.id]


async def test_a_cancellation_is_listed_before_it_is_persisted(stores):
    buyer = await make_account(stores)
    booking = await book(stores, await make_event(stores), user_id=buyer)
    await persist_all(stores)

    await stores.box_office.cancel(booking)

    (listed,) = await stores.box_office.bookings_of(buyer, limit=10, before=None)
    assert listed.status is BookingStatus.CANCELLED


@pytest.mark.usefixtures("worker")
async def test_waiting_ends_when_the_booking_is_confirmed(stores):
    booking = await book(stores, await make_event(stores))

    final = await stores.box_office.wait_until_final(booking, seconds=10)

    assert final.status is BookingStatus.CONFIRMED


async def test_waiting_answers_the_booking_as_it_stands_when_the_time_is_over(stores):
    booking = await book(stores, await make_event(stores))

    still = await stores.box_office.wait_until_final(booking, seconds=0.05)

    assert as_polled(still) == as_polled(booking)


async def test_waiting_for_a_change_sees_a_cancellation(stores):
    booking = await book(stores, await make_event(stores))
    await stores.box_office.cancel(booking)

    changed = await stores.box_office.wait_for_change(booking, seconds=10)

    assert changed.status is BookingStatus.CANCELLED


async def test_a_booking_nobody_made_is_not_found(stores):
    event = await make_event(stores)

    with pytest.raises(BookingNotFound):
        await stores.box_office.booking(random_booking_id(event.id))


async def test_an_id_that_cannot_be_a_booking_is_not_found(stores):
    event = await make_event(stores)

    with pytest.raises(BookingNotFound):
        await stores.box_office.booking(event.id)


async def test_tickets_of_an_unknown_event_are_not_found(stores):
    with pytest.raises(EventNotFound):
        await stores.box_office.reserve(
            Ask.trusted(await make_account(stores)), TicketOrder(await make_account(stores), 1)
        )


async def test_what_is_on_show_follows_every_booking_at_once(stores):
    event = await make_event(stores, capacity=2)
    booking = await book(stores, event, quantity=2)

    ((_, sold_out, status),) = await stores.event_actions.on_show([event])
    await stores.box_office.cancel(booking)
    ((_, free, status_after),) = await stores.event_actions.on_show([event])

    assert (sold_out, status) == (0, EventStatus.SOLD_OUT)
    assert (free, status_after) == (2, EventStatus.ON_SALE)
