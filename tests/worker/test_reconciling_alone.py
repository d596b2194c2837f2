"""One reconciliation runs at a time, and one cause is logged once, however slow PostgreSQL is."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest
from sqlalchemy import text

from tests.factories import make_event
from tests.waiting import eventually
from worker import jobs
from worker.jobs import RECONCILING_KEY, reconcile_all

WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


@asynccontextmanager
async def slow_events(stores):
    """Whoever reads events waits until the end of the block."""
    async with stores.database.begin() as connection:
        await connection.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
        yield


async def _waiting(stores):
    async with stores.database.connect() as connection:
        return (await connection.execute(WAITING)).scalar_one()


@pytest.fixture
def ctx(stores):
    return {"stores": stores, "redis": stores.queue}


async def test_a_reconciliation_that_is_due_leaves_a_slow_one_alone(stores, other_stores, ctx):
    await make_event(stores)
    async with slow_events(other_stores):
        slow = asyncio.create_task(reconcile_all(ctx))
        await eventually(lambda: _is(_waiting(other_stores), 1))

        due = [await reconcile_all(ctx), await reconcile_all({"stores": other_stores, "redis": other_stores.queue})]
        waiting = await _waiting(other_stores)

    assert (due, waiting) == ([0, 0], 1)
    assert await slow == 0
    assert await stores.queue.get(RECONCILING_KEY) is None


async def test_one_that_takes_too_long_is_given_up_with_a_line(stores, other_stores, ctx, monkeypatch, capfd):
    monkeypatch.setattr(jobs, "RECONCILE_S_MAX", 0.2)
    await make_event(stores)
    async with slow_events(other_stores):
        assert await reconcile_all(ctx) == 0

    said = "".join(capfd.readouterr())
    assert said.count("reconcile_put_off") == 1
    assert "Traceback" not in said
    assert await stores.queue.get(RECONCILING_KEY) is None


async def test_the_lease_of_a_killed_worker_lapses(stores, ctx):
    await stores.queue.set(RECONCILING_KEY, "somebody who is gone", px=50)

    await eventually(lambda: _is(stores.queue.exists(RECONCILING_KEY), 0))

    assert await reconcile_all(ctx) == 0
    assert await stores.queue.get(jobs.RECONCILED_KEY) == b""


async def _is(asked, wanted):
    return await asked == wanted
