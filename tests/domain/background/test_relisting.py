"""Records missing in the unpersisted set are found, part by part, while bookings go on."""

from __future__ import annotations

import asyncio
import time

import pytest

from domain.background.reconciling import AT_ONE_GO, Pace, relist_some
from domain.kernel.differences import Fault
from domain.store import books
from tests.books import unlist, unpersisted
from tests.factories import book, make_event
from tests.waiting import eventually, persist_all
from worker import jobs


@pytest.fixture
def a_record_a_page(monkeypatch):
    """A look at one record at a time, or at the few that Redis answers with it."""
    monkeypatch.setattr(books, "RECORDS_PER_SCAN", 1)


async def _records(stores, number):
    """An event with so many persisted bookings, whose records are there for some time."""
    event = await make_event(stores)
    for _ in range(number):
        await book(stores, event)
    await persist_all(stores)
    return event


@pytest.mark.usefixtures("a_record_a_page")
async def test_records_are_looked_through_a_part_at_a_time(stores):
    """A Redis that is full of them does not keep a worker from persisting."""
    await unlist(stores, await book(stores, await _records(stores, 30)))
    outcomes, cursor, rounds = [], 0, 0

    while rounds == 0 or cursor:
        found, cursor = await relist_some(stores, cursor, pace=Pace(seconds=0))
        outcomes, rounds = outcomes + found, rounds + 1

    assert [outcome.difference.fault for outcome in outcomes] == [Fault.ORPHAN_RECORD]
    assert rounds > 2
    await persist_all(stores)


@pytest.mark.usefixtures("a_record_a_page")
async def test_between_pages_of_records_bookings_have_their_turn(stores, monkeypatch):
    """Half a second at one go held up half of what was drained meanwhile."""
    await _records(stores, 10)
    rested = []

    async def noting(seconds):
        rested.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", noting)
    began_s = time.monotonic()
    await relist_some(stores, 0, pace=Pace(rest=7.0))
    took_s = time.monotonic() - began_s

    assert len(rested) > 1
    assert 0 < sum(rested) <= 7.0 * took_s


@pytest.mark.usefixtures("a_record_a_page")
async def test_the_job_looks_through_every_record_though_each_time_it_stops_early(stores, monkeypatch):
    monkeypatch.setattr(jobs, "RELIST", Pace(seconds=0))
    await unlist(stores, await book(stores, await _records(stores, 10)))

    async def job():
        await jobs.reconcile_all({"stores": stores, "redis": stores.queue})
        return await unpersisted(stores)

    assert await eventually(job)
    await persist_all(stores)


async def test_what_is_settled_while_records_are_looked_through_is_no_orphan(stores, monkeypatch):
    event = await make_event(stores)
    await book(stores, event)
    call = stores.pipeline.call

    async def settled_behind_the_first_look(*command):
        answer = await call(*command)
        if command[0] == "PTTL" and await unpersisted(stores):
            await persist_all(stores)
        return answer

    monkeypatch.setattr(stores.pipeline, "call", settled_behind_the_first_look)

    assert await relist_some(stores, 0, pace=AT_ONE_GO) == ([], 0)
