"""A background pass goes on, whatever one of its rounds raises."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import ResponseError

from domain.background import passes
from domain.background.passes import end, repeat
from domain.kernel.refusals import Unavailable
from domain.store.postgres.epochs import EpochOver


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

    running = asyncio.create_task(repeat("anything", once, every_s=0.0))
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
    running = asyncio.create_task(repeat("anything", once, every_s=0.25))
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
    running = asyncio.create_task(repeat("anything", once, every_s=60.0))
    while not slept:
        await sleep(0)
    await end([running])

    assert slept[0] == passes.PUT_OFF_S_MAX
