"""A listening worker persists what the doorbell rings for; without one, a wake-up is a job."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import aclosing, asynccontextmanager

import pytest
from redis.exceptions import RedisError

from domain.background import persisting
from domain.background.passes import end
from domain.kernel.partitions import partition_of_event
from domain.store import job_queue
from domain.store.job_queue import QUEUE_NAME, WAKE_UPS, Doorbell, wake_ups
from tests.books import rows, unpersisted
from tests.factories import book, make_event
from tests.waiting import eventually
from worker import wake_ups as listening
from worker.wake_ups import AT_ONCE_MAX, WAITING_MAX, Wakened, listen


async def listeners(stores):
    ((_, count),) = await stores.queue.pubsub_numsub(WAKE_UPS)
    return count


@asynccontextmanager
async def a_worker_listens(stores):
    """Nothing else of a worker runs: no sweep, no job."""
    task = asyncio.create_task(listen(stores))
    try:
        await eventually(lambda: listeners(stores))
        yield
    finally:
        await end([task])


async def test_a_booking_is_persisted_by_its_wake_up_alone(stores):
    event = await make_event(stores)

    async with a_worker_listens(stores):
        await book(stores, event)
        await eventually(lambda: rows(stores, event), is_so=lambda found: found == {"confirmed": 1})

        assert await stores.queue.zcard(QUEUE_NAME) == 0


async def test_every_lone_booking_wakes_the_worker_again(stores):
    event = await make_event(stores)

    async with a_worker_listens(stores):
        for number in range(1, 6):
            await book(stores, event)
            await eventually(lambda: rows(stores, event), is_so=lambda found, n=number: found == {"confirmed": n})


async def test_a_wake_up_that_no_worker_hears_is_a_job(stores):
    event = await make_event(stores)

    await book(stores, event)

    assert await eventually(lambda: stores.queue.zcard(QUEUE_NAME)) == 1


async def test_a_worker_whose_connection_is_cut_listens_again(stores, monkeypatch):
    monkeypatch.setattr(listening, "LISTEN_AGAIN_S", 0.0)
    event = await make_event(stores)

    async with a_worker_listens(stores):
        await stores.queue.client_kill_filter(_type="pubsub")
        await eventually(lambda: listeners(stores))
        await book(stores, event)

        await eventually(lambda: rows(stores, event), is_so=lambda found: found == {"confirmed": 1})


async def test_a_quiet_connection_is_kept_while_the_server_answers(stores, monkeypatch):
    monkeypatch.setattr(job_queue, "QUIET_S", 0.02)

    async with aclosing(wake_ups(stores.queue)) as heard:
        hearing = asyncio.create_task(anext(heard))
        await eventually(lambda: _pings(stores), is_so=lambda count: count > 5)
        await stores.queue.publish(WAKE_UPS, 7)

        assert await hearing == 7


async def _pings(stores):
    return (await stores.queue.info("commandstats")).get("cmdstat_ping", {"calls": 0})["calls"]


async def test_a_server_that_stops_answering_is_left(stores, valkey, monkeypatch):
    monkeypatch.setattr(job_queue, "QUIET_S", 0.05)

    async with aclosing(wake_ups(stores.queue)) as heard:
        hearing = asyncio.create_task(anext(heard))
        await eventually(lambda: listeners(stores))
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            with pytest.raises(RedisError):
                await asyncio.wait_for(hearing, 30)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)


async def test_a_partition_that_takes_long_lets_others_have_their_turn(stores, monkeypatch):
    monkeypatch.setattr(persisting, "PERSIST_S_MAX", 0.01)
    monkeypatch.setattr(persisting, "BATCH_MAX", 10)
    event = await make_event(stores)
    for _ in range(60):
        await book(stores, event)
    wakened = Wakened(stores)

    wakened.begin(partition_of_event(event.id))
    await wakened.finish()

    assert await unpersisted(stores) == set()


async def test_more_wake_ups_than_a_worker_can_remember_are_left_to_the_sweep(stores):
    event = await make_event(stores)
    await book(stores, event)
    wakened = Wakened(stores)

    for _ in range(WAITING_MAX + AT_ONCE_MAX):
        wakened.begin(partition_of_event(event.id))
    waiting = len(wakened._tasks)
    await wakened.finish()

    assert waiting == WAITING_MAX
    assert await rows(stores, event) == {"confirmed": 1}


async def test_a_worker_that_stops_finishes_the_batch_under_way(stores, monkeypatch):
    event = await make_event(stores)
    began, may_go_on = asyncio.Event(), asyncio.Event()
    persist = listening.persist

    async def held(*arguments):
        began.set()
        await may_go_on.wait()
        return await persist(*arguments)

    monkeypatch.setattr(listening, "persist", held)
    task = asyncio.create_task(listen(stores))
    await eventually(lambda: listeners(stores))
    await book(stores, event)
    await asyncio.wait_for(began.wait(), 30)
    task.cancel()
    asyncio.get_running_loop().call_soon(may_go_on.set)
    await asyncio.gather(task, return_exceptions=True)

    assert await rows(stores, event) == {"confirmed": 1}


async def test_a_ring_that_the_queue_refuses_is_told_to_be_lost(stores):
    lost = []
    bell = Doorbell(stores.queue, on_lost=lambda: lost.append(1))

    await stores.queue.execute_command("ACL", "SETUSER", "default", "resetchannels")
    try:
        bell.ring(3)
        await asyncio.gather(*bell._rings)
    finally:
        await stores.queue.execute_command("ACL", "SETUSER", "default", "allchannels")

    assert lost == [1]
