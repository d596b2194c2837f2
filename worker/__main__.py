"""Runs one worker process: `python -m worker`."""

from __future__ import annotations

import asyncio
import sys

import structlog
import uvloop
from arq import cron
from arq.worker import Worker, func

from domain.sabotage import Failpoint, reach
from domain.settings import SettingsRefused, load_settings
from domain.store.connect import Stores, open_stores
from domain.store.doorbell import PERSIST_JOB, QUEUE_NAME, deserialize, serialize
from worker.jobs import persist_partition, reconcile_all
from worker.sweep import keep_in_order, sweep

log = structlog.get_logger()

POLL_DELAY_S = 0.02
"""How long a doorbell waits in the queue at most; arq's default of half a second is what a buyer would feel."""

JOBS_MAX = 8
JOB_TIMEOUT_S = 10
"""arq gives a job of a killed worker to another one 10 s after this; the sweep has done its work long before."""

RECONCILE_SECONDS = set(range(0, 60, 5))
"""When reconciliation begins in each minute; arq starts it once over all workers."""

RECONCILE_TIMEOUT_S = 120


async def serve(stores: Stores, worker: Worker) -> None:
    """Hear doorbells, sweep and keep the inventory in order, until told to stop."""
    background = [
        asyncio.create_task(keep_in_order(stores)),
        asyncio.create_task(sweep(stores)),
    ]
    hearing = asyncio.create_task(worker.async_run())
    done, _ = await asyncio.wait([*background, hearing], return_when=asyncio.FIRST_COMPLETED)
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    for task in done:
        if not task.cancelled():
            # A pass that ended by itself is a fault: end the process, the supervisor starts another.
            task.result()


async def main() -> None:
    """Open the stores and serve."""
    settings = load_settings()
    async with open_stores(settings) as stores:
        worker = Worker(
            [func(persist_partition, name=PERSIST_JOB, timeout=JOB_TIMEOUT_S, keep_result=0)],
            cron_jobs=[cron(reconcile_all, second=RECONCILE_SECONDS, timeout=RECONCILE_TIMEOUT_S, keep_result=0)],
            queue_name=QUEUE_NAME,
            redis_pool=stores.queue,
            ctx={"stores": stores},
            poll_delay=POLL_DELAY_S,
            max_jobs=JOBS_MAX,
            job_timeout=JOB_TIMEOUT_S,
            keep_result=0,
            job_completion_wait=JOB_TIMEOUT_S,
            job_serializer=serialize,
            job_deserializer=deserialize,
            log_results=False,
        )
        try:
            await serve(stores, worker)
        except asyncio.CancelledError:
            log.info("worker_stopped")
        finally:
            reach(Failpoint.SHUTTING_DOWN)
            await worker.close()


if __name__ == "__main__":
    try:
        uvloop.run(main())
    except SettingsRefused as refused:
        sys.exit(str(refused))
