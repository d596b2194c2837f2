"""Past events are removed from Redis, and PostgreSQL answers for them."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from domain.background.audit import audit
from domain.background.clearing import clear_event
from domain.background.closing import FIRST, close_past_events_once
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import POOL_MAIN
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import (
    CapacityBelowSold,
    EventOver,
    EventStarted,
    InventoryUnavailable,
    NotOnSale,
    Unavailable,
)
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from domain.store.redis.keys import counters_key
from tests.books import retire
from tests.domain.background.past_events import change, closed_event, has_counters, sold_event, status_of
from tests.factories import ORGANIZED, book, make_event, new_event, pass_by, tomorrow
from tests.waiting import eventually, persist_all


async def test_the_counters_of_a_past_event_leave_redis(stores):
    past, _ = await sold_event(stores)
    current = await make_event(stores)
    await book(stores, current)
    await pass_by(stores, past)

    done = await close_past_events_once(stores)

    assert (done.closed, done.leftovers) == (1, 0)
    assert not await has_counters(stores, past)
    assert await has_counters(stores, current)
    assert (await close_past_events_once(stores)).closed == 0


async def test_a_worker_closes_past_events(stores, processes):
    event, _ = await sold_event(stores)
    await pass_by(stores, event, days=6)
    processes.worker(EVENT_CLOSE_AFTER_DAYS="2")

    async def is_gone():
        return not await has_counters(stores, event)

    await eventually(is_gone)


async def test_an_event_is_not_closed_before_its_time(stores):
    recent, old = await make_event(stores), await make_event(stores)
    await pass_by(stores, recent, days=8)
    await pass_by(stores, old)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE events SET opened_at = now() WHERE id = :id"), {"id": old.id})

    done = await close_past_events_once(stores)

    assert done.closed == 0


async def test_an_event_with_an_unpersisted_booking_is_not_closed(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await pass_by(stores, event)

    before = await close_past_events_once(stores)
    await persist_all(stores)
    after = await close_past_events_once(stores)

    assert (before.closed, after.closed) == (0, 1)
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED


async def test_an_event_whose_books_differ_is_left_to_reconciliation(stores):
    event, _ = await sold_event(stores)
    await pass_by(stores, event)
    await stores.pipeline.redis.hincrby(counters_key(event.id), POOL_MAIN, 2)

    before = await close_past_events_once(stores)
    await reconcile(stores)
    after = await close_past_events_once(stores)

    assert (before.closed, after.closed) == (0, 1)


async def test_postgres_answers_for_a_closed_event(stores, other_stores):
    event, booking = await closed_event(stores)
    await retire(stores, booking)

    for at in (stores, other_stores):
        assert await status_of(at, event) == (7, EventStatus.CLOSED)
        with pytest.raises(NotOnSale) as refusal:
            await book(at, event)
        assert refusal.value.facts["event_status"] == EventStatus.CLOSED
        replayed = await at.box_office.reserve(Ask.trusted(booking.user_id), TicketOrder(event.id, 3, "order"))
        assert (replayed.booking.id, replayed.replayed) == (booking.id, True)
        with pytest.raises(EventStarted):
            await at.box_office.cancel(await at.box_office.booking(booking.id))
        with pytest.raises(EventOver):
            await at.event_actions.cancel(event.id, caller=ORGANIZED)
    assert not await has_counters(stores, event)


async def test_what_was_cancelled_of_a_closed_event_is_cancelled_again(stores):
    event, _ = await sold_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    cancelled = await stores.box_office.cancel(booking)
    await persist_all(stores)
    await pass_by(stores, event)
    await close_past_events_once(stores)
    await retire(stores, cancelled)

    again = await stores.box_office.cancel(cancelled)

    assert again.status is BookingStatus.CANCELLED
    assert not await has_counters(stores, event)


async def test_books_with_closed_events_are_in_order(stores):
    event, _ = await closed_event(stores)

    (books,) = await audit(stores)

    assert (books.event_id, books.remaining, books.confirmed, books.in_order) == (event.id, 7, 3, True)
    assert await audit(stores, event.id) == [books]
    assert await reconcile(stores) == []
    assert await reconcile(stores, event.id) == []


async def test_a_rebuild_does_not_visit_closed_events(stores):
    event, _ = await closed_event(stores)
    await make_event(stores)

    rebuilt = await rebuild(stores)

    assert rebuilt.events == 1
    assert not await has_counters(stores, event)
    assert await status_of(stores, event) == (7, EventStatus.CLOSED)


async def test_other_changes_leave_an_event_closed(stores):
    event, _ = await closed_event(stores)

    await change(stores, event, title="Remembered", capacity=12)
    await change(stores, event, paused=True)
    with pytest.raises(CapacityBelowSold) as refusal:
        await change(stores, event, capacity=2)
    await stores.catalog.renew_terms(event.id)
    await stores.catalog.follow_organizer(event.id)

    assert refusal.value.facts["sold"] == 3
    assert await status_of(stores, event) == (9, EventStatus.CLOSED)
    assert not await has_counters(stores, event)


async def test_postgres_refuses_terms_of_a_closed_event_that_nobody_opened(stores):
    """As a release would put in force that knows nothing of it: its counters would begin at 0."""
    event, _ = await closed_event(stores)

    with pytest.raises(IntegrityError, match="ck_events_closed"):
        async with stores.database.begin() as connection:
            await connection.execute(
                text("UPDATE events SET terms_token = 'another', starts_at = now() WHERE id = :id"), {"id": event.id}
            )


async def test_a_cancelled_event_is_closed_when_its_bookings_are_cancelled(stores):
    event, _ = await sold_event(stores)
    await stores.event_actions.cancel(event.id, caller=ORGANIZED)
    await pass_by(stores, event)

    before = await close_past_events_once(stores)
    while not await clear_event(stores, event.id):
        await persist_all(stores)
    await persist_all(stores)
    after = await close_past_events_once(stores)

    assert (before.closed, after.closed) == (0, 1)
    assert await status_of(stores, event) == (10, EventStatus.CANCELLED)
    assert await clear_event(stores, event.id)
    assert (await stores.event_actions.cancel(event.id, caller=ORGANIZED)).cancelled_at is not None
    assert not await has_counters(stores, event)


async def test_what_a_killed_pass_left_is_removed_by_the_next_one(stores):
    event, _ = await sold_event(stores)
    await pass_by(stores, event)
    await stores.past_events.mark_closed(event.id, kept=timedelta(days=7))
    assert await has_counters(stores, event)
    assert await status_of(stores, event) == (7, EventStatus.CLOSED)
    with pytest.raises(NotOnSale):
        await book(stores, event)

    done = await close_past_events_once(stores)

    assert (done.closed, done.leftovers, done.going_on) == (0, 1, FIRST)
    assert not await has_counters(stores, event)


async def test_counters_that_came_back_with_older_data_are_removed(stores):
    event, _ = await sold_event(stores)
    await pass_by(stores, event)
    older = await stores.pipeline.redis.hgetall(counters_key(event.id))
    await close_past_events_once(stores)
    await stores.pipeline.redis.hset(counters_key(event.id), mapping=older)
    await rebuild(stores)
    with pytest.raises(NotOnSale):
        await book(stores, event)

    done = await close_past_events_once(stores)

    assert done.leftovers == 1
    assert not await has_counters(stores, event)


async def test_past_events_are_closed_in_bounded_calls_and_one_that_cannot_be_keeps_none_back(stores):
    made = sorted([await make_event(stores) for _ in range(5)], key=lambda event: event.id)
    booking = await book(stores, made[0])
    await pass_by(stores, *made)
    position, closed = FIRST, []
    for _ in range(3):
        done = await close_past_events_once(stores, position, limit=2)
        position = done.going_on
        closed.append(done.closed)

    assert closed == [1, 2, 1]
    assert position == FIRST
    await persist_all(stores)
    assert (await close_past_events_once(stores, limit=2)).closed == 1
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED


async def test_counters_of_an_event_that_was_never_created_are_removed(stores, monkeypatch):
    """Redis did what it was asked, but its answer was lost, so PostgreSQL created nothing."""
    await make_event(stores)
    install, installed = stores.inventory.install, []

    async def answer_lost(terms, *, new):
        await install(terms, new=new)
        installed.append(terms.event_id)
        detail = "The connection was lost."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    monkeypatch.setattr(stores.inventory, "install", answer_lost)
    with pytest.raises(InventoryUnavailable):
        await stores.event_actions.create(new_event(), caller=ORGANIZED)
    (event_id,) = installed

    done = await close_past_events_once(stores)

    assert (done.closed, done.leftovers) == (0, 1)
    assert not await stores.pipeline.redis.exists(counters_key(event_id))


async def test_counters_of_an_event_that_is_being_created_stay(stores, other_stores, monkeypatch):
    """The creation holds the epoch and nothing else, as in earlier versions."""
    install, passes = stores.inventory.install, []

    async def beside_a_pass(terms, *, new):
        now_ms = await install(terms, new=new)
        passes.append(await close_past_events_once(other_stores))
        return now_ms

    monkeypatch.setattr(stores.inventory, "install", beside_a_pass)

    event = await make_event(stores)

    assert [each.leftovers for each in passes] == [0]
    assert await has_counters(stores, event)
    assert await book(stores, event)


@pytest.mark.parametrize("step", ["installed", "remove_counters"])
async def test_a_pass_that_freezes_removes_no_counters_of_an_event_that_opens(stores, other_stores, monkeypatch, step):
    """PostgreSQL ends the pass's transaction before the step, so its locks are gone."""
    event, booking = await closed_event(stores)
    go_on = getattr(other_stores.inventory, step)

    async def after_a_freeze(*args, **kwargs):
        await _end_idle_transactions(stores)
        await change(stores, event, starts_at=tomorrow(), ends_at=None, sales_close_at=None)
        return await go_on(*args, **kwargs)

    monkeypatch.setattr(other_stores.inventory, step, after_a_freeze)
    with suppress(Unavailable):
        await other_stores.past_events.remove_leftovers(event.id)

    assert await stores.inventory.taken([event.id]) == [booking.quantity]


async def _end_idle_transactions(stores):
    idle = "state = 'idle in transaction' AND datname = current_database()"
    async with stores.database.connect() as connection:
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {idle}"))
