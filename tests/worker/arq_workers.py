"""Workers of arq for tests, with the options that ours has."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

from arq.worker import Worker, func

from domain.store.job_queue import (
    QUEUE_NAME,
    deserialize,
    serialize,
)


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


async def value(found):
    """What `eventually` waits for, as a look."""
    return found
