"""Reductions: a booking gives back some of its tickets, once, and keeps the rest."""

from __future__ import annotations

import asyncio

import pytest

from domain.background import persisting
from domain.background.audit import audit
from domain.background.closing import close_past_events_once
from domain.background.persisting import persist_once
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.bookings import BookingStatus, Reduction
from domain.kernel.claims import reduced_claims
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.idempotency import key_reused
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import BookingNotFound, EventStarted, HoldExpired, IdempotencyKeyReused, SoldOut
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from domain.store.redis.keys import unpersisted_key
from tests.books import counters, pool, record, retire, row, taken, unpersisted
from tests.domain.kernel.orders import AnyOrder
from tests.factories import begin, book, hold, make_account, make_due, make_event, pass_by, place_counters, reduce
from tests.waiting import persist_all

HELD, PENDING, CONFIRMED, CANCELLED = (
    BookingStatus.HELD,
    BookingStatus.PENDING,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
)


async def in_order(stores):
    """Whether reconciliation and the audit find nothing."""
    return await reconcile(stores) == [] and all(books.in_order for books in await audit(stores))


async def booked(stores, event, status, **fields):
    """A booking of this status."""
    booking = await (hold if status is HELD else book)(stores, event, **fields)
    if status is CONFIRMED:
        await persist_all(stores)
    return booking


@pytest.mark.parametrize("status", [HELD, PENDING, CONFIRMED])
async def test_a_reduced_booking_keeps_its_state_and_gives_back_the_difference(stores, status):
    event = await make_event(stores, capacity=5)
    buyer = await make_account(stores)
    booking = await booked(stores, event, status, user_id=buyer, quantity=4)

    reduced = await reduce(stores, booking, 1)

    assert (reduced.status, reduced.version, reduced.quantity) == (status, 2, 1)
    assert await counters(stores, event) == {POOL_MAIN: 1, user_counter(buyer): 1}
    assert await unpersisted(stores) == {booking.id}
    assert await in_order(stores)
    await persist_all(stores)
    stored = await row(stores, booking)
    assert (stored["quantity"], stored["version"]) == (1, 2)
    assert await pool(stores, event) == (5, 1)
    assert await in_order(stores)


async def test_what_was_given_back_is_sold_again(stores):
    event = await make_event(stores, capacity=3)
    booking = await booked(stores, event, CONFIRMED, quantity=3)
    with pytest.raises(SoldOut):
        await book(stores, event)

    await reduce(stores, booking, 1)
    await book(stores, event, quantity=2)

    await persist_all(stores)
    assert await pool(stores, event) == (3, 3)


@pytest.mark.parametrize("status", [HELD, PENDING, CONFIRMED])
async def test_repeated_reductions_give_back_once(stores, status):
    event = await make_event(stores, capacity=5)
    booking = await booked(stores, event, status, quantity=4)

    answers = await asyncio.gather(*(reduce(stores, booking, 2) for _ in range(4)))
    again = await reduce(stores, booking, 2)

    assert {(each.quantity, each.version) for each in (*answers, again)} == {(2, 2)}
    assert await taken(stores, event) == 2


async def test_of_reductions_at_the_same_time_each_gives_back_what_is_left(stores):
    event = await make_event(stores, capacity=9)
    booking = await book(stores, event, quantity=5)

    answers = await asyncio.gather(*(reduce(stores, booking, kept) for kept in (4, 3, 2)), return_exceptions=True)

    smallest = min(answer.quantity for answer in answers if not isinstance(answer, Exception))
    assert (smallest, await taken(stores, event)) == (2, 2)
    assert all(isinstance(answer, ValueError) for answer in answers if isinstance(answer, Exception))
    await persist_all(stores)
    assert await in_order(stores)


async def test_a_reduction_restores_a_record_that_has_retired(stores):
    event = await make_event(stores, capacity=5)
    booking = await booked(stores, event, CONFIRMED, quantity=4)
    await retire(stores, booking)

    reduced = await reduce(stores, booking, 3)
    await persist_all(stores)
    await retire(stores, booking)
    again = await reduce(stores, booking, 2)

    assert (reduced.status, reduced.quantity, again.quantity, again.version) == (CONFIRMED, 3, 2, 3)
    await persist_all(stores)
    assert (await pool(stores, event))[1] == await taken(stores, event) == 2


async def test_a_reduced_booking_gives_back_the_rest_when_it_is_cancelled(stores):
    event = await make_event(stores, capacity=5)
    booking = await booked(stores, event, CONFIRMED, quantity=4)
    await reduce(stores, booking, 3)

    cancelled = await stores.box_office.cancel(booking)
    late = await reduce(stores, booking, 1)

    assert (cancelled.status, late.status, late.quantity) == (CANCELLED, CANCELLED, 3)
    assert await taken(stores, event) == 0
    await persist_all(stores)
    assert await pool(stores, event) == (5, 0)
    assert await in_order(stores)


async def test_a_reduced_hold_is_confirmed_with_what_it_kept(stores):
    event = await make_event(stores, capacity=5)
    held = await hold(stores, event, quantity=4)
    await persist_all(stores)

    await reduce(stores, held, 2)
    confirmed = await stores.box_office.confirm(held.id)

    assert (confirmed.status, confirmed.quantity) == (PENDING, 2)
    await persist_all(stores)
    assert await pool(stores, event) == (5, 2)


async def test_a_hold_past_its_deadline_is_not_reduced_and_comes_back_once(stores):
    event = await make_event(stores, capacity=5)
    held = await hold(stores, event, quantity=4)
    await make_due(stores, held)

    with pytest.raises(HoldExpired):
        await reduce(stores, held, 2)
    await book(stores, event, quantity=5)

    assert await taken(stores, event) == 5


async def test_a_booking_is_reduced_until_the_event_begins_and_a_hold_as_long_as_it_lasts(stores):
    event = await make_event(stores, capacity=9)
    booking = await booked(stores, event, CONFIRMED, quantity=4)
    held = await hold(stores, event, quantity=3)
    await begin(stores, event.id)

    with pytest.raises(EventStarted):
        await reduce(stores, booking, 1)

    assert (await reduce(stores, held, 1)).quantity == 1
    assert await taken(stores, event) == 5


async def test_a_booking_of_a_closed_event_is_not_reduced(stores):
    event = await make_event(stores, capacity=5)
    booking = await booked(stores, event, CONFIRMED, quantity=4)
    await pass_by(stores, event)
    assert (await close_past_events_once(stores)).closed == 1

    with pytest.raises(EventStarted):
        await reduce(stores, booking, 1)


async def test_an_event_is_not_closed_while_a_reduction_is_unpersisted(stores):
    event = await make_event(stores, capacity=5)
    booking = await booked(stores, event, CONFIRMED, quantity=4)
    await reduce(stores, booking, 1)
    await pass_by(stores, event)

    assert (await close_past_events_once(stores)).closed == 0

    await persist_all(stores)
    assert (await close_past_events_once(stores)).closed == 1


@pytest.mark.parametrize("retired", [False, True])
async def test_an_order_is_the_same_one_after_its_booking_was_reduced(stores, retired):
    event = await make_event(stores, capacity=9)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, quantity=4, key="key")
    await persist_all(stores)
    await reduce(stores, booking, 1)
    if retired:
        await persist_all(stores)
        await retire(stores, booking)

    again = await stores.box_office.reserve(Ask.trusted(buyer), TicketOrder(event.id, 4, "key"))

    assert (again.replayed, again.booking.id, again.booking.quantity) == (True, booking.id, 1)
    with pytest.raises(IdempotencyKeyReused):
        await stores.box_office.reserve(Ask.trusted(buyer), TicketOrder(event.id, 1, "key"))


async def test_a_refused_reduction_changes_nothing(stores):
    event = await make_event(stores, capacity=5)
    booking = await book(stores, event, quantity=4)
    before = await record(stores, booking)

    def refuse(_booking):
        raise key_reused()

    with pytest.raises(IdempotencyKeyReused):
        await stores.box_office.reduce(booking.id, refuse)
    with pytest.raises(ValueError, match="cannot be kept"):
        await reduce(stores, booking, 5)
    with pytest.raises(BookingNotFound):
        await stores.box_office.reduce(event.id, refuse)

    assert await record(stores, booking) == before
    assert await taken(stores, event) == 4


async def test_a_counter_that_is_given_back_whole_stays_among_the_claims(stores):
    event = await make_event(stores, capacity=5)
    await place_counters(stores, event.id, **{"pool:vip": 2})
    buyer = await make_account(stores)
    order = AnyOrder(event.id, ((POOL_MAIN, 2), ("pool:vip", 2)), quantity=2, allowance=2)
    booking = (await stores.box_office.reserve(Ask.trusted(buyer), order)).booking
    await persist_all(stores)

    def keep(now):
        return Reduction(reduced_claims(now.known_claims, {POOL_MAIN: 1}), 1, '{"kept": 1}')

    reduced = await stores.box_office.reduce(booking.id, keep)

    assert reduced.claims == f"{user_counter(buyer)}=0 {POOL_MAIN}=1 pool:vip=0"
    assert await counters(stores, event) == {POOL_MAIN: 1}
    await persist_all(stores)
    assert (await row(stores, booking))["body"] == {"kept": 1}
    assert await in_order(stores)
    await rebuild(stores)
    assert await counters(stores, event) == {POOL_MAIN: 1}


async def test_a_rebuild_persists_a_reduction_before_it_counts(stores):
    event = await make_event(stores, capacity=5)
    held, booking = await hold(stores, event, quantity=2), await booked(stores, event, CONFIRMED, quantity=3)
    await reduce(stores, booking, 1)
    await reduce(stores, held, 1)

    await rebuild(stores)

    assert (await pool(stores, event))[1] == await taken(stores, event) == 2
    assert (await stores.box_office.confirm(held.id)).quantity == 1


async def test_what_took_the_tickets_of_a_reduced_booking_is_persisted_after_it(stores, monkeypatch):
    """One booking in each batch, and the reduced one changes once more after its tickets were taken."""
    monkeypatch.setattr(persisting, "BATCH_MAX", 1)
    event = await make_event(stores, capacity=2)
    held = await hold(stores, event, quantity=2)
    await persist_all(stores)
    await reduce(stores, held, 1)
    booking = await book(stores, event)
    await stores.box_office.extend(held.id, hold_ms=300_000, cap_ms=600_000)

    put_off = await persist_once(stores, partition_of_event(event.id))

    assert (put_off.moved, await row(stores, booking)) == (0, None)
    await stores.pipeline.redis.zadd(
        unpersisted_key(partition_of_event(event.id)), {str(booking.id): 2_000_000_000_000}
    )
    await persist_all(stores)
    assert [(await row(stores, each))["status"] for each in (held, booking)] == ["held", "confirmed"]
    assert await pool(stores, event) == (2, 2)


async def test_a_batch_that_postgresql_refuses_is_written_with_its_reductions_first(stores):
    """One booking of the batch is refused, so that the batch is halved; no other is refused with it."""
    event, other = await make_event(stores, capacity=4), await make_event(stores)
    buyer = await make_account(stores)
    await book(stores, other, user_id=buyer, key="key")
    reduced = await booked(stores, event, CONFIRMED, quantity=4)
    await reduce(stores, reduced, 1)
    taking = [await book(stores, event, user_id=buyer, key="key"), *[await book(stores, event) for _ in range(2)]]
    ranks = {str(each.id): rank for rank, each in enumerate([*taking, reduced], start=1)}
    await stores.pipeline.redis.zadd(unpersisted_key(partition_of_event(event.id)), ranks)

    await persist_all(stores)

    assert [(await row(stores, each))["status"] for each in taking] == ["rejected", "confirmed", "confirmed"]
    assert (await row(stores, reduced))["quantity"] == 1
