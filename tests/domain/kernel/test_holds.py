"""Holds: claims until a deadline, which stop counting at that millisecond and come back exactly once."""

from __future__ import annotations

import asyncio

import pytest

from domain.background import persisting
from domain.background.audit import audit
from domain.background.closing import close_past_events_once
from domain.background.persisting import expire
from domain.background.reconciling import reconcile
from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import POOL_MAIN, holds_counter, user_counter
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import HoldAtCap, HoldExpired, NotOnSale, SoldOut
from domain.kernel.times import to_ms
from domain.sales.events import Deadline, EventChanges
from domain.store.redis.admission import Ask
from domain.store.redis.keys import due_key
from tests.books import counters, pool, record, retire, row, taken, unpersisted
from tests.domain.kernel.orders import AnyOrder
from tests.factories import (
    ORGANIZED,
    as_polled,
    book,
    hold,
    make_account,
    make_due,
    make_event,
    pass_by,
)
from tests.waiting import eventually, persist_all

HELD, PENDING, CONFIRMED, CANCELLED, EXPIRED = (
    BookingStatus.HELD,
    BookingStatus.PENDING,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
    BookingStatus.EXPIRED,
)


async def change(stores, event, **fields):
    return await stores.event_actions.change(event.id, EventChanges(**fields), caller=ORGANIZED, expected_version=None)


async def sweep(stores, event):
    return await expire(stores, partition_of_event(event.id))


async def in_order(stores):
    """Whether reconciliation and the audit find nothing."""
    return await reconcile(stores) == [] and all(books.in_order for books in await audit(stores))


async def test_a_hold_takes_its_tickets_and_is_persisted_as_a_hold(stores):
    event = await make_event(stores, capacity=5)

    held = await hold(stores, event, quantity=3)
    await persist_all(stores)

    assert held.status is HELD
    assert (await row(stores, held))["status"] == "held"
    assert await pool(stores, event) == (5, 3)
    assert (await stores.box_office.booking(held.id)).due_at == held.due_at
    with pytest.raises(SoldOut):
        await book(stores, event, quantity=3)
    assert await in_order(stores)


async def test_the_next_buyer_gets_the_tickets_of_a_hold_at_its_deadline(stores):
    event = await make_event(stores, capacity=2)
    held = await hold(stores, event, quantity=2, hold_ms=150)

    async def booking_or_none():
        try:
            return await book(stores, event, quantity=2)
        except SoldOut:
            return None

    booking = await eventually(booking_or_none)

    assert booking.created_at >= held.due_at
    assert await taken(stores, event) == 2
    assert (await stores.box_office.booking(held.id)).status is EXPIRED
    await persist_all(stores)
    assert [(await row(stores, each))["status"] for each in (held, booking)] == ["expired", "confirmed"]
    assert await in_order(stores)


async def test_a_hold_past_its_deadline_is_told_expired_before_anybody_noticed(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    held = await hold(stores, event, user_id=buyer)

    await make_due(stores, held)
    told = await stores.box_office.booking(held.id)
    (listed,) = await stores.box_office.bookings_of(buyer, limit=5, before=None)

    assert (told.status, told.version, listed.status) == (EXPIRED, 2, EXPIRED)
    assert await taken(stores, event) == 1
    assert await sweep(stores, event) == 1
    swept = await stores.box_office.booking(held.id)
    assert (swept.status, swept.version) == (told.status, told.version)


async def test_a_repeated_order_is_told_that_its_hold_has_expired(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    held = await hold(stores, event, user_id=buyer, idempotency_key="key")
    await make_due(stores, held)

    again = await hold(stores, event, user_id=buyer, idempotency_key="key")

    assert (again.id, again.status) == (held.id, EXPIRED)
    assert await taken(stores, event) == 1


async def test_a_sweep_expires_what_is_due_and_nothing_else(stores):
    event, other = await make_event(stores), await make_event(stores)
    due, later, elsewhere = await hold(stores, event), await hold(stores, event), await hold(stores, other)
    await make_due(stores, due)

    swept = [await sweep(stores, each) for each in (event, other, event)]

    assert swept == [1, 0, 0]
    assert [(await record(stores, each))["status"] for each in (due, later, elsewhere)] == ["expired", "held", "held"]
    assert await counters(stores, event) == {POOL_MAIN: 1, user_counter(later.user_id): 1}


async def test_a_worker_expires_holds_by_itself(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await persist_all(stores)
    await make_due(stores, held)

    await persisting.sweep_once(stores)
    await persist_all(stores)

    assert (await row(stores, held))["status"] == "expired"
    assert await pool(stores, event) == (100, 0)
    assert await unpersisted(stores) == set()


async def test_a_hold_confirmed_in_time_is_a_booking(stores):
    event = await make_event(stores)
    held = await hold(stores, event, quantity=2)
    await persist_all(stores)

    confirmed = await stores.box_office.confirm(held.id)
    again = await stores.box_office.confirm(held.id)
    await persist_all(stores)

    assert (confirmed.status, confirmed.version) == (PENDING, 2)
    assert as_polled(again) == as_polled(confirmed)
    assert (await row(stores, held))["status"] == "confirmed"
    assert (await row(stores, held))["confirmed_at"] is not None
    assert await pool(stores, event) == (100, 2)
    assert await stores.pipeline.redis.zcard(due_key(event.id)) == 0
    assert await in_order(stores)


async def test_the_claims_that_end_with_a_hold_come_back_when_it_is_confirmed(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    order = AnyOrder(event.id, ((POOL_MAIN, 1), ("holds:@", 1)), hold_ms=60_000)
    held = (await stores.box_office.reserve(Ask.trusted(buyer), order)).booking
    await persist_all(stores)
    before = (await counters(stores, event))[holds_counter(buyer)]

    await stores.box_office.confirm(held.id)
    await persist_all(stores)

    assert before == 1
    assert holds_counter(buyer) not in await counters(stores, event)
    assert (await row(stores, held))["claims"] == "user:@=0 pool:main=1"
    assert await in_order(stores)


async def test_a_confirmation_that_is_not_yet_persisted_is_no_drift(stores):
    event = await make_event(stores)
    order = AnyOrder(event.id, ((POOL_MAIN, 1), ("holds:@", 1)), hold_ms=60_000)
    held = (await stores.box_office.reserve(Ask.trusted(await make_account(stores)), order)).booking
    await persist_all(stores)

    await stores.box_office.confirm(held.id)

    assert await reconcile(stores) == []
    assert await counters(stores, event) == {POOL_MAIN: 1}


@pytest.mark.parametrize("swept", [False, True])
async def test_a_late_confirmation_takes_the_tickets_again_if_they_are_free(stores, swept):
    event = await make_event(stores, capacity=2)
    held = await hold(stores, event, quantity=2)
    await persist_all(stores)
    await make_due(stores, held)
    if swept:
        await sweep(stores, event)
        await persist_all(stores)

    confirmed = await stores.box_office.confirm(held.id)

    assert (confirmed.status, confirmed.version) == (PENDING, 3)
    assert await taken(stores, event) == 2
    await persist_all(stores)
    assert (await row(stores, held))["status"] == "confirmed"
    assert await pool(stores, event) == (2, 2)
    assert await in_order(stores)


@pytest.mark.parametrize("swept", [False, True])
async def test_a_late_confirmation_is_refused_if_the_tickets_are_sold(stores, swept):
    event = await make_event(stores, capacity=2)
    held = await hold(stores, event, quantity=2)
    await make_due(stores, held)
    if swept:
        await sweep(stores, event)
    await book(stores, event)

    with pytest.raises(HoldExpired):
        await stores.box_office.confirm(held.id)

    assert (await stores.box_office.booking(held.id)).status is EXPIRED
    assert await taken(stores, event) == 1
    await persist_all(stores)
    assert await pool(stores, event) == (2, 1)


async def test_a_late_confirmation_is_refused_while_the_event_is_not_on_sale(stores):
    event = await make_event(stores)
    held, in_time = await hold(stores, event), await hold(stores, event)
    await make_due(stores, held)
    await change(stores, event, paused=True)

    with pytest.raises(HoldExpired):
        await stores.box_office.confirm(held.id)
    confirmed = await stores.box_office.confirm(in_time.id)

    assert confirmed.status is PENDING
    assert (await record(stores, held))["status"] == "expired"
    assert await taken(stores, event) == 1


async def test_an_expired_hold_is_confirmed_after_its_record_has_retired(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await make_due(stores, held)
    await sweep(stores, event)
    await persist_all(stores)
    await retire(stores, held)

    confirmed = await stores.box_office.confirm(held.id)

    assert confirmed.status is PENDING
    assert await taken(stores, event) == 1


async def test_a_confirmation_and_the_deadline_never_both_win(stores):
    """Thirty rounds of a hold in its last milliseconds, a buyer who waits for it, and its own confirmation."""
    for _ in range(30):
        event = await make_event(stores, capacity=1)
        held = await hold(stores, event, hold_ms=30)

        async def buy(event=event):
            for _ in range(200):
                try:
                    return await book(stores, event)
                except SoldOut:
                    await asyncio.sleep(0.001)
            return None

        async def pay(held=held):
            await asyncio.sleep(0.029)
            try:
                return await stores.box_office.confirm(held.id)
            except HoldExpired:
                return None

        bought, paid = await asyncio.gather(buy(), pay())

        assert (bought is None) != (paid is None)
        assert await taken(stores, event) == 1
        await persist_all(stores)
    assert await in_order(stores)


async def test_an_extension_moves_the_deadline_but_not_beyond_the_cap(stores):
    event = await make_event(stores)
    held = await hold(stores, event, hold_ms=60_000)

    extended = await stores.box_office.extend(held.id, hold_ms=100_000, cap_ms=90_000)

    assert (extended.due_at - held.created_at).total_seconds() == 90
    assert (extended.status, extended.version) == (HELD, 2)
    with pytest.raises(HoldAtCap):
        await stores.box_office.extend(held.id, hold_ms=100_000, cap_ms=90_000)
    await persist_all(stores)
    assert (await row(stores, held))["due_at"] == extended.due_at


async def test_an_extended_hold_outlives_its_first_deadline(stores):
    event = await make_event(stores, capacity=1)
    held = await hold(stores, event, hold_ms=200)
    extended = await stores.box_office.extend(held.id, hold_ms=60_000, cap_ms=600_000)

    await eventually(stores.inventory.now_ms, is_so=lambda now_ms: now_ms > to_ms(held.due_at))
    swept = await sweep(stores, event)
    with pytest.raises(SoldOut):
        await book(stores, event)

    assert (extended.status, swept) == (HELD, 0)
    assert (await stores.box_office.booking(held.id)).status is HELD


async def test_a_hold_is_not_extended_after_its_deadline_or_outside_of_sales(stores):
    event = await make_event(stores)
    due, held = await hold(stores, event), await hold(stores, event)
    await make_due(stores, due)
    with pytest.raises(HoldExpired):
        await stores.box_office.extend(due.id, hold_ms=60_000, cap_ms=600_000)

    await change(stores, event, paused=True)

    with pytest.raises(NotOnSale):
        await stores.box_office.extend(held.id, hold_ms=60_000, cap_ms=600_000)


async def test_a_hold_can_be_given_back_once(stores):
    event = await make_event(stores)
    held = await hold(stores, event, quantity=2)

    cancelled = await asyncio.gather(*(stores.box_office.cancel(held) for _ in range(5)))

    assert {booking.status for booking in cancelled} == {CANCELLED}
    assert await taken(stores, event) == 0
    assert await stores.pipeline.redis.zcard(due_key(event.id)) == 0
    await persist_all(stores)
    assert (await row(stores, held))["status"] == "cancelled"


async def test_a_hold_that_is_given_back_after_its_deadline_has_expired(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await make_due(stores, held)

    given_back = await stores.box_office.cancel(held)

    assert given_back.status is EXPIRED
    assert await taken(stores, event) == 0


async def test_what_an_account_holds_when_it_is_closed_is_found_and_given_back(stores):
    event = await make_event(stores)
    buyer = await make_account(stores)
    persisted = await hold(stores, event, user_id=buyer)
    await persist_all(stores)
    fresh = await hold(stores, event, user_id=buyer)

    found = await stores.box_office.held_by(buyer, after=None, limit=10)
    for each in found:
        await stores.box_office.cancel(each, deadline=Deadline.BEGIN)

    assert {each.id for each in found} == {persisted.id, fresh.id}
    assert await taken(stores, event) == 0
    await persist_all(stores)


async def test_a_cancelled_event_ends_its_holds(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await persist_all(stores)
    await stores.event_actions.cancel(event.id, caller=ORGANIZED)

    await stores.box_office.clear_event(event.id, after=None)
    await persist_all(stores)

    ended = await row(stores, held)
    assert (ended["status"], ended["reason"]) == ("cancelled", "event_cancelled")
    assert await taken(stores, event) == 0


async def test_more_holds_than_one_call_expires_are_expired_for_a_buyer(stores):
    event = await make_event(stores, capacity=150)
    buyers = [await make_account(stores) for _ in range(150)]
    held = await asyncio.gather(*(hold(stores, event, user_id=buyer) for buyer in buyers))
    for each in held:
        await make_due(stores, each)

    booking = await book(stores, event, quantity=100)

    assert booking.status is PENDING
    assert await taken(stores, event) == 100 + await stores.pipeline.redis.zcard(due_key(event.id))


async def test_a_hold_that_expires_while_reconciliation_looks_at_it_is_no_difference(stores):
    event = await make_event(stores)

    async def sweep_after(round_trips):
        for _ in range(round_trips):
            await stores.inventory.now_ms()
        await sweep(stores, event)

    for round_trips in range(6):
        held = await hold(stores, event)
        await persist_all(stores)
        await make_due(stores, held)
        found, _ = await asyncio.gather(stores.books.orphans(0), sweep_after(round_trips))
        assert found.orphans == []


async def test_an_event_with_a_hold_is_not_closed(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await persist_all(stores)
    await pass_by(stores, event)

    closed = [(await close_past_events_once(stores)).closed]
    await make_due(stores, held)
    await sweep(stores, event)
    await persist_all(stores)
    closed.append((await close_past_events_once(stores)).closed)

    assert closed == [0, 1]
