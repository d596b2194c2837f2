"""Request coalescing: callers that ask for the same thing share one read."""

from __future__ import annotations

import asyncio
import gc

import pytest

from domain.kernel.refusals import EventNotFound, Unavailable
from domain.platform import coalescing
from domain.platform.coalescing import ANY_AGE, Coalesced


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
    shared = Coalesced(readings.read)
    readings.gate.set()

    answers = await asyncio.gather(*(shared.of("page") for _ in range(1_000)))

    assert (set(answers), readings.begun) == ({1}, ["page"])


async def test_who_asks_while_a_reading_is_under_way_gets_one_that_begins_later(readings):
    shared = Coalesced(readings.read)
    early = asyncio.create_task(shared.of("page"))
    await _turns()
    late = [asyncio.create_task(shared.of("page")) for _ in range(100)]
    await _turns()
    assert readings.begun == ["page"]

    readings.gate.set()

    assert await early == 1
    assert set(await asyncio.gather(*late)) == {2}


async def test_different_questions_do_not_wait_for_each_other(readings):
    shared = Coalesced(readings.read)
    asked = [asyncio.create_task(shared.of(page)) for page in ("first", "second")]
    await _turns()

    begun = [*readings.begun]
    readings.gate.set()

    assert begun == ["first", "second"]
    assert await asyncio.gather(*asked) == [1, 2]


async def test_one_who_leaves_does_not_take_the_reading_from_the_others(readings):
    shared = Coalesced(readings.read)
    leaving, staying = (asyncio.create_task(shared.of("page")) for _ in range(2))
    await _turns()
    leaving.cancel()
    await _turns()

    readings.gate.set()

    assert await staying == 1


async def test_a_refusal_reaches_everybody_who_shares_it_as_an_error_of_their_own():
    async def read(_):
        detail = "There is no event with this id."
        raise EventNotFound(detail, remaining=3) from OSError("away")

    shared = Coalesced(read)

    refusals = await asyncio.gather(*(shared.of("page") for _ in range(2)), return_exceptions=True)

    assert [str(refusal) for refusal in refusals] == ["There is no event with this id."] * 2
    assert refusals[0] is not refusals[1]
    assert [refusal.facts for refusal in refusals] == [{"remaining": 3}] * 2
    assert [str(refusal.__cause__) for refusal in refusals] == ["away"] * 2


async def test_more_questions_than_may_wait_are_refused_and_the_others_answered(readings, monkeypatch):
    monkeypatch.setattr(coalescing, "WAITING_MAX", 2)
    shared = Coalesced(readings.read, too_many=lambda: Unavailable("full"))
    waiting = [asyncio.create_task(shared.of(page)) for page in ("first", "second", "third")]
    readings.gate.set()

    answers = await asyncio.gather(*waiting, return_exceptions=True)

    assert (answers[:2], type(answers[2])) == ([1, 2], Unavailable)
    assert await shared.of("third") == 3


@pytest.fixture
def clock(monkeypatch):
    """The age of reads, in seconds, which the test sets."""
    now_s = [0.0]
    monkeypatch.setattr(coalescing, "_now_s", lambda: now_s[0])
    return now_s


async def test_a_young_read_is_joined_and_an_old_one_delays_nobody(readings, clock):
    shared = Coalesced(readings.read, joined_s_max=0.1)
    asked = [asyncio.create_task(shared.of("epoch"))]
    await _turns()
    for clock[0] in (0.1, 0.3, 0.35):
        asked.append(asyncio.create_task(shared.of("epoch")))
        await _turns()

    assert readings.begun == ["epoch", "epoch"]
    readings.gate.set()
    assert await asyncio.gather(*asked) == [1, 1, 2, 2]


async def test_work_of_any_age_is_joined(readings, clock):
    shared = Coalesced(readings.read, joined_s_max=ANY_AGE)
    first = asyncio.create_task(shared.of("connection"))
    await _turns()
    clock[0] = 1_000.0
    second = asyncio.create_task(shared.of("connection"))
    await _turns()
    readings.gate.set()

    assert await asyncio.gather(first, second) == [1, 1]
    assert await shared.of("connection") == 2


async def test_the_end_of_every_read_under_way_can_be_waited_for(readings):
    shared = Coalesced(readings.read)
    asked = [asyncio.create_task(shared.of("page"))]
    await _turns()
    asked.append(asyncio.create_task(shared.of("page")))
    await _turns()
    ending = asyncio.create_task(shared.end())
    await _turns()
    assert not ending.done()

    readings.gate.set()
    await ending

    assert await asyncio.gather(*asked) == [1, 2]


@pytest.mark.parametrize("another_is_under_way", [False, True], ids=["at-once", "while-another-is-under-way"])
async def test_after_a_waiting_read_is_cancelled_the_next_caller_begins_another(readings, *, another_is_under_way):
    shared = Coalesced(readings.read)
    asked = [asyncio.create_task(shared.of("page"))] if another_is_under_way else []
    await _turns()
    before = asyncio.all_tasks()
    waiting = asyncio.create_task(shared.of("page"))
    await asyncio.sleep(0)
    (read,) = asyncio.all_tasks() - before - {waiting}
    read.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting

    asked.append(asyncio.create_task(shared.of("page")))
    await _turns()
    readings.gate.set()
    assert await asyncio.gather(*asked) == [*range(1, len(asked) + 1)]
    await shared.end()


async def test_a_read_that_fails_after_its_caller_left_is_not_logged(readings, caplog):
    async def read(_):
        await readings.gate.wait()
        raise KeyError

    shared = Coalesced(read)
    leaving = asyncio.create_task(shared.of("page"))
    await _turns()
    leaving.cancel()
    readings.gate.set()
    await shared.end()
    del shared
    gc.collect()

    assert caplog.records == []


async def _turns():
    """Let everything that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)
