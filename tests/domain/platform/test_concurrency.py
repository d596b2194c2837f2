"""Concurrent work is bounded, and no task is left behind."""

from __future__ import annotations

import asyncio

import pytest

from domain.platform.concurrency import together


async def test_answers_come_in_the_order_of_the_items():
    async def do(turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    assert await together(do, [5, 0, 3], at_once_max=3) == [5, 0, 3]


async def test_no_more_is_under_way_than_may_be():
    under_way, most = 0, 0

    async def do(_):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    await together(do, range(20), at_once_max=3)

    assert (under_way, most) == (0, 3)


async def test_when_one_fails_the_others_have_ended_before_it_is_raised():
    begun, ended = set(), set()

    async def do(number):
        if number == 1:
            raise LookupError
        begun.add(number)
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.add(number)

    with pytest.raises(LookupError):
        await together(do, range(5), at_once_max=3)

    assert ended == begun >= {0, 2}


async def test_who_is_cancelled_takes_everything_along():
    begun, ended = asyncio.Event(), []

    async def do(number):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    waiting = asyncio.create_task(together(do, range(5), at_once_max=2))
    await begun.wait()
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(ended) == [0, 1]
