"""The behaviour of arq that the worker relies on; a release of arq that changes it fails here."""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
from collections import Counter
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import msgpack
import pytest
from arq import Retry, cron
from arq.constants import (
    abort_jobs_ss,
    health_check_key_suffix,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
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
    serialize,
)
from tests.books import rows
from tests.factories import book, make_event
from tests.waiting import eventually
from worker import __main__ as processes
from worker.__main__ import JOB_TIMEOUT_S, JOBS_MAX, RECONCILE_TIMEOUT_S, SEEN_S, queue_worker
from worker.jobs import tried_again

LEFT_ALONE_S = 10
"""What arq adds to the longest timeout before it believes that a worker is dead."""

TRIES_MAX = 5


@pytest.fixture
def queue(stores):
    return stores.queue


@pytest.fixture
def ran():
    """How often each job of a test was run, by its first argument."""
    return Counter()


@pytest.fixture
def note(ran):
    async def note(_ctx, word):
        ran[word] += 1

    return note


def worker_of(queue, *functions, **options):
    """A worker with the options that ours has; it ends when the queue is empty."""
    defaults = {
        "queue_name": QUEUE_NAME,
        "redis_pool": queue,
        "handle_signals": False,
        "poll_delay": 0.02,
        "keep_result": 0,
        "burst": True,
        "job_serializer": serialize,
        "job_deserializer": deserialize,
    }
    jobs = [each if hasattr(each, "coroutine") else func(each, name=each.__name__) for each in functions]
    return Worker(jobs, **defaults | options)


@asynccontextmanager
async def running(worker):
    """A worker that listens until the block is left."""
    task = asyncio.create_task(worker.async_run())
    try:
        yield worker
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=1)
        with suppress(asyncio.CancelledError):
            task.result()
        for job in worker.tasks.values():
            job.cancel()
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)


async def keys_of(queue, job_id):
    prefixes = (job_key_prefix, in_progress_key_prefix, retry_key_prefix, result_key_prefix)
    found = [prefix for prefix in prefixes if await queue.exists(prefix + job_id)]
    return found, await queue.zscore(QUEUE_NAME, job_id) is not None


async def test_a_job_id_is_taken_while_its_job_waits(queue):
    first = await queue.enqueue_job("note", "once", _job_id="one")
    second = await queue.enqueue_job("note", "once", _job_id="one")

    assert first is not None
    assert second is None


async def test_a_job_id_is_free_again_once_its_job_is_done(queue, note, ran):
    for _ in range(2):
        assert await queue.enqueue_job("note", "again", _job_id="one")
        await worker_of(queue, note).async_run()

    assert ran == {"again": 2}
    assert await keys_of(queue, "one") == ([], False)


async def test_a_result_that_is_kept_holds_on_to_its_job_id(queue, note):
    await queue.enqueue_job("note", "once", _job_id="one")
    await worker_of(queue, func(note, name="note", keep_result=60)).async_run()

    assert await queue.enqueue_job("note", "once", _job_id="one") is None


async def test_a_job_whose_worker_is_dead_is_left_alone_until_its_key_expires(queue, note, ran):
    await queue.psetex(f"{in_progress_key_prefix}one", 500, b"1")
    await queue.enqueue_job("note", "the dead one's", _job_id="one")
    await queue.enqueue_job("note", "another")

    async with running(worker_of(queue, note, burst=False)):
        await eventually(lambda: _value(ran["another"]))
        before = ran["the dead one's"]
        await eventually(lambda: _value(ran["the dead one's"]))

    assert before == 0
    assert ran == {"the dead one's": 1, "another": 1}


async def test_a_dead_workers_jobs_are_left_alone_for_the_longest_timeout_and_ten_seconds(stores, queue):
    began = asyncio.Event()

    async def hang(_ctx):
        began.set()
        await asyncio.Event().wait()

    await queue.enqueue_job("hang", _job_id="one")
    ours = queue_worker(stores)
    async with running(
        worker_of(queue, func(hang, name="hang", timeout=3), func(hang, name="longer", timeout=7), burst=False)
    ):
        await asyncio.wait_for(began.wait(), 10)
        left_ms = await queue.pttl(f"{in_progress_key_prefix}one")

    assert (7 + LEFT_ALONE_S - 5) * 1000 < left_ms <= (7 + LEFT_ALONE_S) * 1000
    assert ours.in_progress_timeout_s == max(JOB_TIMEOUT_S, RECONCILE_TIMEOUT_S) + LEFT_ALONE_S


async def test_an_exception_ends_a_job_for_good(queue, ran):
    async def fail(_ctx):
        ran["fail"] += 1
        raise ValueError

    await queue.enqueue_job("fail", _job_id="one")
    await worker_of(queue, fail).async_run()

    assert ran == {"fail": 1}
    assert await keys_of(queue, "one") == ([], False)


async def test_a_job_that_asks_for_it_is_tried_again_five_times_and_then_dropped(queue, ran):
    async def fail(_ctx):
        ran["fail"] += 1
        raise Retry

    await queue.enqueue_job("fail", _job_id="one")
    await worker_of(queue, fail).async_run()

    assert ran == {"fail": TRIES_MAX}
    assert await keys_of(queue, "one") == ([], False)


async def test_a_job_that_takes_too_long_is_cancelled_and_not_tried_again(queue, ran):
    async def hang(_ctx):
        ran["hang"] += 1
        await asyncio.Event().wait()

    await queue.enqueue_job("hang", _job_id="one")
    worker = worker_of(queue, func(hang, name="hang", timeout=0.1))
    await worker.async_run()

    assert ran == {"hang": 1}
    assert (worker.jobs_failed, await keys_of(queue, "one")) == (1, ([], False))


async def test_a_job_that_is_cancelled_with_its_worker_stays_in_the_queue(queue, note, ran):
    began = asyncio.Event()

    async def hang(_ctx, _word):
        began.set()
        await asyncio.Event().wait()

    await queue.enqueue_job("note", "later", _job_id="one")
    async with running(worker_of(queue, func(hang, name="note"), burst=False)):
        await asyncio.wait_for(began.wait(), 10)
    await worker_of(queue, note).async_run()

    assert ran == {"later": 1}


async def test_a_hanging_job_holds_up_no_other(queue, note, ran):
    async def hang(_ctx):
        await asyncio.Event().wait()

    await queue.enqueue_job("hang")
    async with running(worker_of(queue, hang, note, burst=False, max_jobs=JOBS_MAX)):
        for number in range(JOBS_MAX * 2):
            await queue.enqueue_job("note", number)
        await eventually(lambda: _value(ran.total() == JOBS_MAX * 2))


async def test_two_workers_run_a_job_once(queue, note, ran):
    for number in range(50):
        await queue.enqueue_job("note", number)

    await asyncio.gather(*(worker_of(queue, note).async_run() for _ in range(2)))

    assert ran == dict.fromkeys(range(50), 1)


async def test_a_job_is_msgpack(queue):
    await queue.enqueue_job(PERSIST_JOB, 7, _job_id="one")

    job = msgpack.unpackb(await queue.get(f"{job_key_prefix}one"))

    assert (job["f"], list(job["a"]), job["k"]) == (PERSIST_JOB, [7], {})


class Mine:
    """What runs code of whoever wrote it when it is unpickled."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (self._path.touch, ())


async def test_a_pickled_job_is_thrown_away_unread(queue, note, ran, tmp_path):
    touched = tmp_path / "touched"
    await queue.set(
        f"{job_key_prefix}evil", pickle.dumps({"t": 1, "f": "note", "a": (Mine(touched),), "k": {}, "et": 1})
    )
    await queue.zadd(QUEUE_NAME, {"evil": 1})
    await queue.enqueue_job("note", "the next")

    await worker_of(queue, note).async_run()

    assert not touched.exists()
    assert ran == {"the next": 1}
    assert await keys_of(queue, "evil") == ([], False)


async def test_a_job_nobody_knows_and_one_that_expired_are_thrown_away(queue, note, ran):
    await queue.enqueue_job("of an older version", _job_id="unknown")
    await queue.zadd(QUEUE_NAME, {"expired": 1})
    await queue.enqueue_job("note", "the next")

    await worker_of(queue, note).async_run()

    assert ran == {"the next": 1}
    assert await queue.zcard(QUEUE_NAME) == 0


async def test_a_job_that_is_to_be_aborted_runs_all_the_same(queue, note, ran):
    await queue.enqueue_job("note", "runs", _job_id="one")
    await queue.zadd(abort_jobs_ss, {"one": 1})

    await worker_of(queue, note).async_run()

    assert ran == {"runs": 1}


async def test_a_worker_that_hears_its_queue_says_so_for_a_second_longer_than_it_repeats_it(stores, queue):
    async with running(queue_worker(stores)):
        await eventually(lambda: queue.exists(QUEUE_NAME + health_check_key_suffix))
        left_ms = await queue.pttl(QUEUE_NAME + health_check_key_suffix)

    assert SEEN_S * 1000 < left_ms <= (SEEN_S + 1) * 1000


async def test_a_cron_job_begins_once_over_all_workers(queue):
    began = Counter()

    async def tick(ctx):
        began[ctx["job_id"]] += 1

    def one():
        every_second = cron(tick, second=set(range(60)), keep_result=0)
        return worker_of(queue, cron_jobs=[every_second], burst=False)

    async with running(one()), running(one()), running(one()):
        await eventually(lambda: _value(len(began) >= 3))

    assert set(began.values()) == {1}


async def test_what_no_job_foresaw_is_tried_again(queue, ran):
    @tried_again
    async def fail(_ctx):
        ran["fail"] += 1
        if ran["fail"] < 3:
            raise ValueError

    await queue.enqueue_job("fail", _job_id="one")
    await worker_of(queue, fail).async_run()

    assert ran == {"fail": 3}
    assert await keys_of(queue, "one") == ([], False)


async def test_every_job_of_ours_is_tried_again(stores):
    jobs = queue_worker(stores).functions.values()

    assert all(hasattr(job.coroutine, "__wrapped__") for job in jobs)


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

        await eventually(lambda: _value(worker.jobs_complete + worker.jobs_retried + worker.jobs_failed))


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
        await eventually(lambda: _value(len(began) == 1))
        before = await asked(stores.queue)
        for number in range(3):
            await ring(stores.queue, JOBS_MAX + number)
            await eventually(lambda n=number: _value(len(began) == n + 2))
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
        await eventually(lambda: _value(len(began) == JOBS_MAX))
        await ring(stores.queue, JOBS_MAX)
        may_end.set()

        await eventually(lambda: _value(len(began) == JOBS_MAX + 1))


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


async def _value(found):
    return found
