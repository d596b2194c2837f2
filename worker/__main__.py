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
from redis.exceptions import RedisError

from domain.background.passes import end
from domain.engine import Stores, open_stores
from domain.platform.clocks import STEP_MS_MAX
from domain.platform.failpoints import Failpoint, reach
from domain.platform.garbage_collection import spare_what_stays
from domain.platform.logs import configure_logs
from domain.platform.settings import SettingsRefused, load_settings
from domain.store.job_queue import CLEAR_JOB, PERSIST_JOB, QUEUE_NAME, deserialize, serialize
from domain.store.readiness import refuse_forgetful_inventory
from worker.heartbeat import beat, begin
from worker.jobs import clear_cancelled_event, persist_partition, reconcile_all
from worker.passes import (
    close_past_events,
    go_on_clearing,
    go_on_following_up,
    keep_in_order,
    keep_retention,
    sweep,
    watch_clocks,
)

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

POLL_DELAY_S = 0.02
"""How long a doorbell waits in the queue at most; arq's default of half a second is what a buyer would feel."""

JOBS_MAX = 8
JOB_TIMEOUT_S = 10
"""arq gives a job of a killed worker to another one 10 s after this; the sweep has done its work long before."""

RECONCILE_SECONDS = set(range(0, 60, 5))
"""When reconciliation begins in each minute; arq starts it once over all workers."""

RECONCILE_TIMEOUT_S = 20
"""arq takes the longest timeout of all jobs for how long a killed worker's jobs are left alone."""

SEEN_S = 5
"""How often a worker says in the queue that it lives; readiness misses it a second later than that."""

SAY_SEEN = """#!lua flags=allow-oom
redis.call('SET', KEYS[1], 'seen', 'PX', ARGV[1])
"""
"""Told also to a queue whose memory is full: without it readiness would take the workers for dead."""

HEAR_AGAIN_S = 0.25
"""How soon a queue that went away is listened to again."""


async def serve(stores: Stores, stop: asyncio.Event, *, heartbeat: Path | None = None) -> None:
    """Hear doorbells, sweep and keep the inventory in order, until told to stop; touch `heartbeat` meanwhile."""
    stopping = asyncio.create_task(stop.wait())
    works = (
        keep_in_order(stores),
        sweep(stores),
        go_on_clearing(stores),
        go_on_following_up(stores),
        keep_retention(stores),
        close_past_events(stores),
        watch_clocks(stores),
        hear(stores),
        *([beat(heartbeat)] if heartbeat else []),
    )
    passes = [asyncio.create_task(work) for work in works]
    done, _ = await asyncio.wait([*passes, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    await end(passes)
    for task in done:
        # A pass that ended by itself is a fault: end the process, the supervisor starts another.
        task.result()


async def hear(stores: Stores) -> None:
    """Answer doorbells until cancelled; then finish the jobs that are under way.

    A queue that goes away is heard again when it is back. The process must not end with it: its other
    passes rebuild the inventory, which cannot wait for a new process.
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
            # This worker asks no more for the outcome of its jobs.
            for job in worker.tasks.values():
                job.add_done_callback(_tell_lost_outcome)
        # Its connections may lead to a server that is a replica by now.
        with suppress(RedisError, OSError):
            await stores.queue.connection_pool.disconnect(inuse_connections=False)
        await asyncio.sleep(HEAR_AGAIN_S)


def _tell_lost_outcome(job: asyncio.Task[None]) -> None:
    """Log why the queue was not told that a job is done: it gives the job to a worker once more."""
    if not job.cancelled() and (error := job.exception()):
        log.warning("job_outcome_lost", cause=str(error))


class QueueWorker(Worker):
    """arq's worker, but that a clock that is set and a queue whose memory is full do not silence it.

    arq plans its cron jobs and its health by the wall clock: set back by ten minutes, it would do neither for as long.
    """

    _offset_s: float | None = None
    _said_s = -math.inf

    async def heart_beat(self) -> None:
        """Plan anew when the clock was set since the last beat."""
        offset_s = time.time() - time.monotonic()
        if self._offset_s is not None and abs(offset_s - self._offset_s) * 1000 > STEP_MS_MAX:
            log.warning("clock_stepped", by_s=round(offset_s - self._offset_s, 1))
            for job in self.cron_jobs:
                job.next_run = None
        self._offset_s = offset_s
        await super().heart_beat()

    async def record_health(self) -> None:
        """Say that this worker lives, every SEEN_S."""
        if time.monotonic() - self._said_s < SEEN_S:
            return
        self._said_s = time.monotonic()
        said: Any = self.pool.eval(SAY_SEEN, 1, self.health_check_key, str((SEEN_S + 1) * 1000))
        await said


def queue_worker(stores: Stores) -> Worker:
    """What answers doorbells and begins reconciliation; `tests/worker` pins what is relied on of arq."""
    return QueueWorker(
        [
            func(persist_partition, name=PERSIST_JOB, timeout=JOB_TIMEOUT_S, keep_result=0),
            func(clear_cancelled_event, name=CLEAR_JOB, timeout=JOB_TIMEOUT_S, keep_result=0),
        ],
        cron_jobs=[cron(reconcile_all, second=RECONCILE_SECONDS, timeout=RECONCILE_TIMEOUT_S, keep_result=0)],
        queue_name=QUEUE_NAME,
        redis_pool=stores.queue,
        ctx={"stores": stores},
        # A worker that lost its queue would take the signals with it.
        handle_signals=False,
        poll_delay=POLL_DELAY_S,
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
