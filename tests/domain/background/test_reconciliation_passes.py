"""A reconciliation pass works page by page, pauses for bookings, and resumes where it stopped."""

from __future__ import annotations

import asyncio
import time

import pytest

from domain.background import reconciling
from domain.background.reconciling import AT_ONE_GO, Pace, reconcile, reconcile_some
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.store import books
from domain.store.redis.keys import counters_key
from tests.domain.background.drift import move
from tests.factories import book, make_accounts, make_event
from tests.waiting import persist_all
from worker import jobs


async def test_a_pass_that_is_cut_short_is_gone_on_with_behind_the_page_it_came_to(stores, monkeypatch):
    monkeypatch.setattr(reconciling, "EVENTS_PER_PAGE", 2)
    events = sorted([(await make_event(stores)).id for _ in range(5)])
    pages = []

    async def going_to(event_id):
        pages.append(event_id)

    after = None
    for _ in range(4):
        await reconcile_some(stores, after, pace=Pace(seconds=0), going_to=going_to)
        after = pages[-1]
    assert pages == [events[1], events[3], events[4], None]


async def test_between_portions_of_a_pass_bookings_have_their_turn(stores, monkeypatch):
    """Half a second at one go held up by a quarter what was booked and persisted meanwhile."""
    monkeypatch.setattr(reconciling, "EVENTS_PER_PAGE", 1)
    for _ in range(4):
        await make_event(stores)
    rested = []

    async def noting(seconds):
        rested.append(seconds)

    async def going_to(event_id):
        """Nobody goes on with this pass."""

    monkeypatch.setattr(asyncio, "sleep", noting)
    began_s = time.monotonic()
    await reconcile_some(stores, None, pace=Pace(rest=5.0), going_to=going_to)
    took_s = time.monotonic() - began_s

    assert len(rested) == 4
    assert 0 < sum(rested) <= 5.0 * took_s


async def test_events_that_sold_much_are_compared_fewer_at_a_time(stores, monkeypatch):
    """A worker persists nothing while it compares."""
    monkeypatch.setattr(reconciling, "UNITS_PER_PAGE", 2)
    events = sorted([await make_event(stores) for _ in range(5)], key=lambda event: event.id)
    for event, quantity in zip(events, (1, 1, 3, 0, 0), strict=True):
        if quantity:
            await book(stores, event, quantity=quantity)
    await persist_all(stores)
    pages = []

    async def going_to(event_id):
        pages.append(event_id)

    await reconcile_some(stores, None, pace=AT_ONE_GO, going_to=going_to)

    assert pages == [events[1].id, events[2].id, events[4].id, None]


@pytest.mark.parametrize("counters_per_page", [1, 1_000])
async def test_drift_is_found_on_whatever_page_it_stands_while_bookings_move(stores, monkeypatch, counters_per_page):
    monkeypatch.setattr(books, "COUNTERS_PER_PAGE", counters_per_page)
    event, buyers = await make_event(stores, capacity=10_000), await make_accounts(stores, 600)
    await asyncio.gather(*(book(stores, event, user_id=buyer) for buyer in buyers))
    await persist_all(stores)
    given_back = await book(stores, event, user_id=buyers[0], quantity=2)
    await persist_all(stores)
    await book(stores, event, user_id=buyers[1], quantity=3)
    await stores.box_office.cancel(given_back)
    assert await reconcile(stores) == []
    await move(stores, event, user_counter(buyers[300]), 1)
    await stores.pipeline.redis.hdel(counters_key(event.id), user_counter(buyers[400]))

    found = {(each.difference.subject, each.difference.drift) for each in await reconcile(stores)}

    assert found == {(user_counter(buyers[300]), 1), (user_counter(buyers[400]), -1)}
    assert await reconcile(stores) == []


async def test_the_job_goes_through_every_event_though_each_time_it_stops_early(stores, monkeypatch):
    monkeypatch.setattr(reconciling, "EVENTS_PER_PAGE", 1)
    monkeypatch.setattr(jobs, "RECONCILE", Pace(seconds=0))
    events = [await make_event(stores) for _ in range(3)]
    for event in events:
        await move(stores, event, POOL_MAIN, 1)
    found = [await jobs.reconcile_all({"stores": stores, "redis": stores.queue}) for _ in range(4)]
    assert sum(found) == len(events)
    assert await reconcile(stores) == []
