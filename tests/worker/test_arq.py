"""The behaviour of arq that the worker relies on; a release of arq that changes it fails here."""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter

import msgpack
from arq import Retry, cron
from arq.constants import (
    abort_jobs_ss,
    health_check_key_suffix,
    in_progress_key_prefix,
    job_key_prefix,
    result_key_prefix,
    retry_key_prefix,
)
from arq.worker import func

from domain.store.job_queue import (
    PERSIST_JOB,
    QUEUE_NAME,
)
from tests.waiting import eventually
from tests.worker.arq_workers import running, value, worker_of
from worker.__main__ import JOB_TIMEOUT_S, JOBS_MAX, RECONCILE_TIMEOUT_S, SEEN_S, queue_worker
from worker.jobs import tried_again

LEFT_ALONE_S = 10
"""What arq adds to the longest timeout before it believes that a worker is dead."""

TRIES_MAX = 5


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
        await eventually(lambda: value(ran["another"]))
        before = ran["the dead one's"]
        await eventually(lambda: value(ran["the dead one's"]))

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
        await eventually(lambda: value(ran.total() == JOBS_MAX * 2))


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
        await eventually(lambda: value(len(began) >= 3))

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
