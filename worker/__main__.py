"""Runs one worker process: `python -m worker`."""

from __future__ import annotations

import asyncio
import math
import signal
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import structlog
import uvloop
from arq import cron
from arq.worker import Worker, func
from redis.exceptions import NoPermissionError, RedisError

from domain.background.passes import end, run
from domain.engine import Stores, open_stores
from domain.platform.clocks import STEP_MS_MAX
from domain.platform.failpoints import Failpoint, reach
from domain.platform.garbage_collection import spare_what_stays
from domain.platform.logs import configure_logs
from domain.platform.settings import SettingsRefused, load_settings
from domain.store.job_queue import CLEAR_JOB, PERSIST_JOB, QUEUE_NAME, QUEUED, deserialize, serialize
from domain.store.readiness import refuse_forgetful_inventory
from worker.heartbeat import begin
from worker.jobs import clear_cancelled_event, persist_partition, reconcile_all
from worker.passes import passes_of

if TYPE_CHECKING:
    from pathlib import Path

    from redis.asyncio.client import PubSub

log = structlog.get_logger()

POLL_DELAY_S = 0.02
"""How often a worker asks the queue while it has no room for more jobs, or when it cannot hear that one was queued."""

IDLE_POLL_DELAY_S = 0.25
"""How often a worker with room for jobs asks the queue by itself. Otherwise it hears at once that one was queued.

arq keeps a job in the queue until it is done, so asking while a long one is under way costs four round trips.
"""

JOBS_MAX = 8
JOB_TIMEOUT_S = 10
"""arq gives the job of a killed worker to another one 10 s after this; the sweep has done the work long before."""

RECONCILE_SECONDS = set(range(0, 60, 5))
"""The seconds of each minute at which reconciliation begins; arq starts it once over all workers."""

RECONCILE_TIMEOUT_S = 20
"""arq waits for the longest timeout of all jobs before it gives the jobs of a killed worker to another one."""

SEEN_S = 5
"""How often a worker reports in the queue that it runs. The report expires one second later than this."""

REPORT_SEEN = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], 'seen', 'PX', ARGV[1])
"""
"""The report is also accepted when the queue's memory is full: without it, readiness would report no workers."""

RECONNECT_S = 0.25
"""The pause before a worker connects again to a queue that it lost."""


async def serve(stores: Stores, stop: asyncio.Event, *, heartbeat: Path | None = None) -> None:
    """Run every pass and the jobs of the queue until `stop` is set."""
    stopping = asyncio.create_task(stop.wait())
    works = [run(each) for each in passes_of(stores, heartbeat=heartbeat)]
    tasks = [asyncio.create_task(work) for work in (*works, run_jobs(stores))]
    done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await end(tasks)
    for task in done:
        # A task that ended by itself is a fault. Its exception ends the process, and the supervisor starts another.
        task.result()


async def run_jobs(stores: Stores) -> None:
    """Run the jobs of the queue until cancelled, then finish the jobs under way.

    If the queue is lost, this function connects again. The process must not end then, because its passes rebuild the
    inventory.
    """
    while True:
        worker = queue_worker(stores)
        try:
            await worker.async_run()
        except asyncio.CancelledError:
            if worker.tasks:
                await asyncio.wait(worker.tasks.values(), timeout=JOB_TIMEOUT_S)
            raise
        except (RedisError, OSError) as error:
            log.warning("queue_lost", cause=str(error))
        except Exception:
            log.exception("queue_failed")
        finally:
            # arq's worker has ended, so it does not report the outcome of its jobs to the queue.
            for job in worker.tasks.values():
                job.add_done_callback(_log_lost_outcome)
        # The connections may lead to a server that has become a replica.
        with suppress(RedisError, OSError):
            await stores.queue.connection_pool.disconnect(inuse_connections=False)
        await asyncio.sleep(RECONNECT_S)


def _log_lost_outcome(job: asyncio.Task[None]) -> None:
    """Log why the queue does not know that a job is done. The queue gives the job to a worker again."""
    if not job.cancelled() and (error := job.exception()):
        log.warning("job_outcome_lost", cause=str(error))


class QueueWorker(Worker):
    """arq's worker, told of new jobs, and made safe against steps of the clock and a queue whose memory is full.

    arq plans cron jobs and health reports by the wall clock. After a step back of ten minutes it would do neither for
    ten minutes.
    """

    _offset_s: float | None = None
    _reported_s = -math.inf
    _news: PubSub | None = None
    _full = False

    async def main(self) -> None:
        """Hear that jobs are queued while running; if that connection is lost, the worker ends, as with any other."""
        async with self.pool.pubsub() as self._news:
            await self._news.subscribe(QUEUED)
            await super().main()

    async def _poll_iteration(self) -> None:
        """Wait until a job may have been queued, and start the jobs that are due."""
        await self._wait_for_news()
        # It may have been full when it heard of a job, and have room by now.
        self._full = self.job_counter >= self.max_jobs
        await super()._poll_iteration()
        self._full = self._full or self.job_counter >= self.max_jobs

    async def _wait_for_news(self) -> None:
        if self._news is None:
            await asyncio.sleep(POLL_DELAY_S)
            return
        try:
            await self._news.get_message(timeout=POLL_DELAY_S if self._full else IDLE_POLL_DELAY_S)
        except NoPermissionError as error:
            log.warning("queue_asked_often", cause=str(error))
            self._news = None

    async def heart_beat(self) -> None:
        """Plan the cron jobs again if the clock was set since the last beat."""
        offset_s = time.time() - time.monotonic()
        if self._offset_s is not None and abs(offset_s - self._offset_s) * 1000 > STEP_MS_MAX:
            log.warning("clock_stepped", by_s=round(offset_s - self._offset_s, 1))
            for job in self.cron_jobs:
                job.next_run = None
        self._offset_s = offset_s
        await super().heart_beat()

    async def record_health(self) -> None:
        """Report every SEEN_S that this worker runs."""
        if time.monotonic() - self._reported_s < SEEN_S:
            return
        self._reported_s = time.monotonic()
        reporting: Any = self.pool.eval(REPORT_SEEN, 1, self.health_check_key, str((SEEN_S + 1) * 1000))
        await reporting


def queue_worker(stores: Stores) -> Worker:
    """The arq worker that runs the jobs and starts reconciliation. `tests/worker` pins the behaviour of arq."""
    return QueueWorker(
        [
            func(persist_partition, name=PERSIST_JOB, timeout=JOB_TIMEOUT_S, keep_result=0),
            func(clear_cancelled_event, name=CLEAR_JOB, timeout=JOB_TIMEOUT_S, keep_result=0),
        ],
        cron_jobs=[cron(reconcile_all, second=RECONCILE_SECONDS, timeout=RECONCILE_TIMEOUT_S, keep_result=0)],
        queue_name=QUEUE_NAME,
        redis_pool=stores.queue,
        ctx={"stores": stores},
        # The process handles signals itself, because this worker ends when the queue is lost.
        handle_signals=False,
        # The worker waits by itself.
        poll_delay=0,
        max_jobs=JOBS_MAX,
        job_timeout=JOB_TIMEOUT_S,
        keep_result=0,
        health_check_interval=SEEN_S,
        job_serializer=serialize,
        job_deserializer=deserialize,
        log_results=False,
    )


async def main() -> None:
    """Open the stores and serve until SIGTERM or SIGINT."""
    settings = load_settings()
    configure_logs(settings)
    if settings.heartbeat_file:
        begin(settings.heartbeat_file)
    await refuse_forgetful_inventory(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with open_stores(settings) as stores:
        spare_what_stays()
        await serve(stores, stop, heartbeat=settings.heartbeat_file)
        log.info("worker_stopped")
        reach(Failpoint.SHUTTING_DOWN)


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except SettingsRefused as refused:
        sys.exit(str(refused))
