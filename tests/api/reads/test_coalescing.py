"""Readings that many share."""

from __future__ import annotations

import asyncio

import pytest

from api.reads import coalescing
from api.reads.coalescing import Shared
from domain.kernel.refusals import EventNotFound, Unavailable


class Readings:
    """Readings that end when they are let; each answers how many began before it."""

    def __init__(self):
        self.begun = []
        self.gate = asyncio.Event()

    async def read(self, question):
        self.begun.append(question)
        number = len(self.begun)
        await self.gate.wait()
        return number


@pytest.fixture
def readings():
    return Readings()


async def test_a_crowd_that_asks_the_same_at_once_costs_one_reading(readings):
    shared = Shared(readings.read)
    readings.gate.set()

    answers = await asyncio.gather(*(shared.of("page") for _ in range(1_000)))

    assert (set(answers), readings.begun) == ({1}, ["page"])


async def test_who_asks_while_a_reading_is_under_way_gets_one_that_begins_later(readings):
    shared = Shared(readings.read)
    early = asyncio.create_task(shared.of("page"))
    await _turns()
    late = [asyncio.create_task(shared.of("page")) for _ in range(100)]
    await _turns()
    assert readings.begun == ["page"]

    readings.gate.set()

    assert await early == 1
    assert set(await asyncio.gather(*late)) == {2}


async def test_different_questions_do_not_wait_for_each_other(readings):
    shared = Shared(readings.read)
    asked = [asyncio.create_task(shared.of(page)) for page in ("first", "second")]
    await _turns()

    begun = [*readings.begun]
    readings.gate.set()

    assert begun == ["first", "second"]
    assert await asyncio.gather(*asked) == [1, 2]


async def test_one_who_leaves_does_not_take_the_reading_from_the_others(readings):
    shared = Shared(readings.read)
    leaving, staying = (asyncio.create_task(shared.of("page")) for _ in range(2))
    await _turns()
    leaving.cancel()
    await _turns()

    readings.gate.set()

    assert await staying == 1


async def test_a_refusal_reaches_everybody_who_shares_it_as_an_error_of_their_own():
    async def read(_):
        detail = "There is no event with this id."
        raise EventNotFound(detail)

    shared = Shared(read)

    refusals = await asyncio.gather(*(shared.of("page") for _ in range(2)), return_exceptions=True)

    assert [str(refusal) for refusal in refusals] == ["There is no event with this id."] * 2
    assert refusals[0] is not refusals[1]


async def test_more_questions_than_may_wait_are_refused_and_the_others_answered(readings, monkeypatch):
    monkeypatch.setattr(coalescing, "WAITING_MAX", 2)
    shared = Shared(readings.read)
    waiting = [asyncio.create_task(shared.of(page)) for page in ("first", "second", "third")]
    readings.gate.set()

    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert (answers[:2], type(answers[2])) == ([1, 2], Unavailable)
    assert await shared.of("third") == 3


async def _turns():
    """Let everything that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)
