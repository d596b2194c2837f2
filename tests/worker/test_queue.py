"""Our queue: the doorbell, what a worker hears of it, and what becomes of it when its server is away."""

from __future__ import annotations

import asyncio
import gc
import signal
from contextlib import asynccontextmanager
from uuid import uuid4

import msgpack
import pytest
from arq.constants import (
    job_key_prefix,
)
from arq.worker import Worker, func
from redis.exceptions import RedisError

from domain.background.passes import end
from domain.store import job_queue
from domain.store.job_queue import (
    CLEAR_JOB,
    PERSIST_JOB,
    QUEUE_NAME,
    QUEUED,
    Doorbell,
    deserialize,
    open_queue,
)
from tests.books import rows
from tests.factories import book, make_event
from tests.waiting import eventually
from tests.worker.arq_workers import running, value
from worker import __main__ as processes
from worker.__main__ import JOBS_MAX, queue_worker


async def test_our_worker_leaves_signals_to_its_process(stores):
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]

    queue_worker(stores)

    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


async def test_our_worker_hears_what_the_doorbell_rings(stores):
    names = set(queue_worker(stores).functions)

    assert names >= {PERSIST_JOB, CLEAR_JOB}


async def ring(queue, partition):
    """Ring and wait until the job is queued."""
    lost = []
    bell = Doorbell(queue, on_lost=lambda: lost.append(1))
    bell.ring(partition)
    await asyncio.gather(*bell._rings)
    assert not lost


async def test_the_doorbell_queues_what_arq_would_queue(queue):
    await ring(queue, 7)
    await queue.enqueue_job(PERSIST_JOB, 7, _job_id="one")

    job_ids = [each.decode() for each in await queue.zrange(QUEUE_NAME, 0, -1)]
    ours, arqs = [
        (msgpack.unpackb(await queue.get(job_key_prefix + job_id)), await queue.pttl(job_key_prefix + job_id))
        for job_id in sorted(job_ids, key=lambda job_id: job_id == "one")
    ]

    assert ours[0] | {"et": 0} == arqs[0] | {"et": 0}
    assert abs(ours[1] - arqs[1]) < 60_000


async def test_an_idle_worker_hears_of_every_job_at_once(stores, monkeypatch):
    monkeypatch.setattr(processes, "IDLE_POLL_DELAY_S", 3_600)
    event = await make_event(stores)

    async with running(queue_worker(stores)):
        await eventually(lambda: heard_by(stores.queue))
        for number in range(1, 4):
            await book(stores, event)
            await eventually(lambda: rows(stores, event), is_so=lambda found, n=number: found == {"confirmed": n})


async def heard_by(queue):
    ((_, listeners),) = await queue.pubsub_numsub(QUEUED)
    return listeners


async def test_an_idle_worker_hears_that_an_event_is_to_be_cleared(queue, stores, monkeypatch):
    monkeypatch.setattr(processes, "IDLE_POLL_DELAY_S", 3_600)
    worker = queue_worker(stores)

    async with running(worker):
        await eventually(lambda: heard_by(queue))
        await Doorbell(queue, on_lost=lambda: None).rang_to_clear(uuid4())

        await eventually(lambda: value(worker.jobs_complete + worker.jobs_retried + worker.jobs_failed))


@pytest.fixture
def held(monkeypatch):
    """Jobs of partitions begin and wait until the test lets them go on; also gives those that began."""
    began, may_end = [], asyncio.Event()

    async def hold(_ctx, partition):
        began.append(partition)
        if partition < JOBS_MAX:
            await may_end.wait()

    monkeypatch.setattr(processes, "persist_partition", hold)
    return began, may_end


async def test_a_worker_asks_no_more_often_while_a_job_is_under_way(stores, held, monkeypatch):
    """Arq answers each question with the job under way, and then takes four round trips to leave it alone."""
    monkeypatch.setattr(processes, "IDLE_POLL_DELAY_S", 3_600)
    began, may_end = held

    async with running(queue_worker(stores)):
        await eventually(lambda: heard_by(stores.queue))
        await ring(stores.queue, 0)
        await eventually(lambda: value(len(began) == 1))
        before = await asked(stores.queue)
        for number in range(3):
            await ring(stores.queue, JOBS_MAX + number)
            await eventually(lambda n=number: value(len(began) == n + 2))
        after = await asked(stores.queue)
        may_end.set()

    assert after - before <= 3 + 1


async def asked(queue):
    return (await queue.info("commandstats"))["cmdstat_zrangebyscore"]["calls"]


async def test_a_worker_that_was_full_takes_what_it_had_no_room_for(stores, held, monkeypatch):
    monkeypatch.setattr(processes, "IDLE_POLL_DELAY_S", 3_600)
    began, may_end = held

    async with running(queue_worker(stores)):
        await eventually(lambda: heard_by(stores.queue))
        for number in range(JOBS_MAX):
            await ring(stores.queue, number)
        await eventually(lambda: value(len(began) == JOBS_MAX))
        await ring(stores.queue, JOBS_MAX)
        may_end.set()

        await eventually(lambda: value(len(began) == JOBS_MAX + 1))


async def test_a_user_of_the_queue_who_may_not_use_channels_loses_no_job(stores, monkeypatch):
    monkeypatch.setattr(processes, "IDLE_POLL_DELAY_S", 3_600)
    event = await make_event(stores)
    await stores.queue.execute_command("ACL", "SETUSER", "default", "resetchannels")

    try:
        async with running(queue_worker(stores)):
            await book(stores, event)
            await eventually(lambda: rows(stores, event), is_so=lambda found: found == {"confirmed": 1})
    finally:
        await stores.queue.execute_command("ACL", "SETUSER", "default", "allchannels")


@asynccontextmanager
async def silent_server():
    """Takes connections and never answers, as a Redis that stands still."""
    connections = []

    async def hold(_reader, writer):
        connections.append(writer)

    server = await asyncio.start_server(hold, "127.0.0.1", 0)
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        for writer in connections:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


async def test_no_failure_of_a_job_whose_queue_is_lost_goes_unseen(stores, queue, valkey, monkeypatch):
    began, ended, heard, may_end, unseen = [], [], [], asyncio.Event(), []

    async def waits(_ctx, word):
        began.append(word)
        await may_end.wait()

    class Noted(Worker):
        async def main(self):
            heard.append("again")
            await super().main()

        async def run_job(self, job_id, score):
            try:
                await super().run_job(job_id, score)
            finally:
                ended.append(job_id)

    async def number_of(jobs):
        return len(jobs)

    options = {"queue_name": QUEUE_NAME, "redis_pool": queue, "handle_signals": False, "job_deserializer": deserialize}
    monkeypatch.setattr(processes, "queue_worker", lambda _stores: Noted([func(waits, name="waits")], **options))
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context["message"]))
    hearing = asyncio.create_task(processes.run_jobs(stores))
    for word in ("one", "two", "three"):
        await queue.enqueue_job("waits", word)
    await eventually(lambda: number_of(began), is_so=lambda number: number == 3)

    valkey.stop()
    may_end.set()
    await eventually(lambda: number_of(ended), is_so=lambda number: number == 3)
    await eventually(lambda: number_of(heard), is_so=lambda number: number > 1)
    await end([hearing])
    gc.collect()

    assert unseen == []


async def test_a_queue_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr(job_queue, "SOCKET_TIMEOUT_S", 0.2)

    async with silent_server() as url:
        queue = open_queue(url)
        with pytest.raises(RedisError):
            await asyncio.wait_for(queue.enqueue_job("note", "never"), 10)
        await queue.aclose(close_connection_pool=True)


async def test_a_ring_waits_for_no_queue_and_is_told_to_be_lost(monkeypatch):
    monkeypatch.setattr(job_queue, "SOCKET_TIMEOUT_S", 0.2)
    lost = []

    async with silent_server() as url:
        bell = Doorbell(open_queue(url), on_lost=lambda: lost.append(1))
        for partition in range(job_queue.RINGS_MAX + 3):
            bell.ring(partition)
        at_once = len(lost)
        await bell.close()

    assert at_once == 3
    assert len(lost) == job_queue.RINGS_MAX + 3


async def test_a_queue_that_is_a_replica_takes_no_job(queue):
    lost = []
    await queue.execute_command("REPLICAOF", "127.0.0.1", 1)

    try:
        taken = await Doorbell(queue, on_lost=lambda: lost.append(1)).rang_to_clear(uuid4())
    finally:
        await queue.execute_command("REPLICAOF", "NO", "ONE")

    assert (taken, lost) == (False, [1])
