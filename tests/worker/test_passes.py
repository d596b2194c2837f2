"""A background pass continues after a round that raised."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from domain.background import passes
from domain.background.passes import Pass, end, run
from domain.background.rebuilding import rebuild_if_needed_once
from domain.kernel.refusals import Unavailable
from domain.store.postgres.epochs import EpochOver
from worker.jobs import reconcile_all
from worker.passes import passes_of


@pytest.mark.parametrize(
    "error", [Unavailable("away"), EpochOver(), ResponseError("NEWCODE of a later server"), KeyError("a bug")]
)
async def test_a_round_that_fails_is_followed_by_another(monkeypatch, error):
    monkeypatch.setattr(passes, "BACKOFF_S", 0.0)
    went_on = asyncio.Event()
    errors = [error]

    async def once():
        if errors:
            raise errors.pop()
        went_on.set()

    running = asyncio.create_task(run(Pass("anything", 0.0, once)))
    await asyncio.wait_for(went_on.wait(), 30)
    assert not running.done()
    await end([running])


async def test_a_pass_that_keeps_failing_comes_less_and_less_often(monkeypatch):
    slept = []
    sleep = asyncio.sleep

    async def note(seconds):
        slept.append(seconds)
        await sleep(0)

    async def once():
        raise KeyError

    monkeypatch.setattr(passes.asyncio, "sleep", note)
    running = asyncio.create_task(run(Pass("anything", 0.25, once)))
    while len(slept) < 8:
        await sleep(0)
    await end([running])

    assert slept[:6] == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0]


async def test_a_round_that_is_put_off_does_not_wait_for_a_long_interval(monkeypatch):
    slept = []
    sleep = asyncio.sleep

    async def note(seconds):
        slept.append(seconds)
        await sleep(0)

    async def once():
        detail = "away"
        raise Unavailable(detail)

    monkeypatch.setattr(passes.asyncio, "sleep", note)
    running = asyncio.create_task(run(Pass("anything", 60.0, once)))
    while not slept:
        await sleep(0)
    await end([running])

    assert slept[0] == passes.PUT_OFF_S_MAX


async def test_a_round_that_did_something_is_followed_sooner_by_another(monkeypatch):
    slept = []
    sleep = asyncio.sleep

    async def note(seconds):
        slept.append(seconds)
        await sleep(0)

    found = [3, 1, 0]

    async def once():
        return found.pop(0) if found else 0

    monkeypatch.setattr(passes.asyncio, "sleep", note)
    running = asyncio.create_task(run(Pass("anything", 60.0, once, lambda done: 1.0 if done else 60.0)))
    while len(slept) < 4:
        await sleep(0)
    await end([running])

    assert slept[:4] == [1.0, 1.0, 60.0, 60.0]


async def test_no_round_begins_while_its_pass_waits():
    rounds, asked, ran = [], [], asyncio.Event()

    async def once():
        rounds.append(len(asked))
        ran.set()

    def waits():
        asked.append(True)
        return len(asked) < 4

    running = asyncio.create_task(run(Pass("anything", 0.0, once, waits_while=waits)))
    await asyncio.wait_for(ran.wait(), 30)
    await end([running])

    assert rounds[0] == 4


async def test_passes_that_can_wait_wait_for_a_rebuild(stores):
    table = passes_of(stores)

    def waiting():
        return {each.name for each in table if each.waits_while and each.waits_while()}

    before = waiting()
    await stores.pipeline.redis.flushall()
    await stores.scripts.look()
    during = waiting()
    reconciled = await reconcile_all({"stores": stores, "redis": stores.queue})
    await rebuild_if_needed_once(stores)
    await stores.scripts.look()

    assert during == {"clearing", "follow_ups", "payments", "retention", "closing"}
    assert (before, reconciled, waiting()) == (set(), 0, set())


async def test_every_pass_of_a_worker_runs_a_function_that_does_one_round(stores, tmp_path):
    table = passes_of(stores, heartbeat=tmp_path / "heartbeat")

    names = [getattr(each.run_once, "func", each.run_once).__name__ for each in table]
    assert [name for name in names if not name.endswith("_once")] == []
    assert len({each.name for each in table}) == len(table)
