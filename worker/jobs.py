"""The jobs of the queue."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from arq import Retry
from redis.exceptions import RedisError

from domain.background.clearing import clear_event
from domain.background.persisting import persist
from domain.background.reconciling import Pace, reconcile_some, relist_some
from domain.kernel.refusals import Unavailable
from domain.store.job_queue import PERSIST_JOB
from domain.store.postgres.epochs import EpochOver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from arq.connections import ArqRedis

    from domain.engine import Stores

log = structlog.get_logger()

Job = Callable[..., Coroutine[Any, Any, Any]]

RETRY_S = 0.5
"""The pause before a job that failed unexpectedly is tried again; arq tries four more times."""

RELIST = Pace(seconds=1.5, rest=5.0)
"""The pace at which one reconciliation searches for orphan records, a thousand at a time.

It works for a quarter of a second in all, so 100,000 records are searched in half a minute.
"""

RECONCILE = Pace(seconds=2.5, rest=5.0)
"""The pace at which it then compares the books. An eighth of the job's five seconds is work.

Without pauses, either part would slow down bookings and persisting by half.
"""

LOOKED_THROUGH_KEY = "onsale:looked-through"
"""The cursor of the search for orphan records."""

RECONCILED_KEY = "onsale:reconciled"
"""The last event that was compared; empty if the next reconciliation begins at the first event."""


def tried_again(job: Job) -> Job:
    """Try a job again after any exception; arq would drop it.

    A job that exceeds its timeout is dropped. The sweep or the next job of its kind does the work.
    """

    @functools.wraps(job)
    async def run(ctx: dict[str, Any], *args: Any) -> Any:  # noqa: ANN401  (arguments and result of the job)
        try:
            return await job(ctx, *args)
        except Exception as error:
            log.exception("job_failed", job=job.__name__)
            raise Retry(defer=RETRY_S) from error

    return run


RECONCILING_KEY = "onsale:reconciling"
"""The holder of the reconciliation under way."""

LEASE_MS = 6_000
"""How long a killed worker blocks the next reconciliation: no longer than a reconciliation normally takes."""

RECONCILE_S_MAX = 15.0
"""The time limit of a reconciliation: it ends before arq drops the job with a traceback after 20 s."""


@tried_again
async def persist_partition(ctx: dict[str, Any], partition: int) -> int:
    """Persist a partition. If time is up, another job continues; if a server is unreachable, the sweep does."""
    stores: Stores = ctx["stores"]
    redis: ArqRedis = ctx["redis"]
    try:
        written = await persist(stores, partition)
        if written and (await stores.unpersisted.pulse(partition)).unpersisted_count:
            await redis.enqueue_job(PERSIST_JOB, partition)
    except (Unavailable, EpochOver) as error:
        log.warning("persist_put_off", partition=partition, cause=str(error))
        return 0
    return written


@tried_again
async def clear_cancelled_event(ctx: dict[str, Any], event_id: str) -> bool:
    """Cancel the bookings of a cancelled event, some thousands per call. A pass queues it again until it is done."""
    try:
        return await clear_event(ctx["stores"], UUID(event_id))
    except (Unavailable, EpochOver) as error:
        log.warning("clearing_put_off", event_id=event_id, cause=str(error))
        return False


@tried_again
async def reconcile_all(ctx: dict[str, Any]) -> int:
    """Compare and repair the books for some seconds, from where the last call stopped; returns how many differed.

    It does nothing during a rebuild, or while another one is under way in any worker. On a slow PostgreSQL each one
    lasts longer than the interval between two, and several at once would make it even slower.
    """
    stores: Stores = ctx["stores"]
    redis: ArqRedis = ctx["redis"]
    async with _alone(redis) as alone:
        if not alone or stores.scripts.needs_rebuild:
            return 0
        try:
            async with asyncio.timeout(RECONCILE_S_MAX):
                return await _reconcile_some(stores, redis)
        except TimeoutError:
            log.warning("reconcile_put_off", cause=f"not done within {RECONCILE_S_MAX} s")
        except (Unavailable, EpochOver) as error:
            log.warning("reconcile_put_off", cause=str(error))
    return 0


async def _reconcile_some(stores: Stores, redis: ArqRedis) -> int:
    async def going_to(event_id: UUID | None) -> None:
        await redis.set(RECONCILED_KEY, str(event_id or ""))

    after, cursor = await redis.get(RECONCILED_KEY), await redis.get(LOOKED_THROUGH_KEY)
    outcomes, looked = await relist_some(stores, int(cursor or 0), pace=RELIST)
    await redis.set(LOOKED_THROUGH_KEY, looked)
    outcomes += await reconcile_some(stores, UUID(after.decode()) if after else None, pace=RECONCILE, going_to=going_to)
    await stores.intents.forget_kept()
    return len(outcomes)


@asynccontextmanager
async def _alone(redis: ArqRedis) -> AsyncIterator[bool]:
    """Whether no other reconciliation is under way. During the block no other one can begin.

    A worker that is killed or stopped blocks them for LEASE_MS more. If a stopped worker then continues, two of them
    run side by side, which is safe.
    """
    holder = uuid4().hex
    if not await redis.set(RECONCILING_KEY, holder, nx=True, px=LEASE_MS):
        yield False
        return
    renewing = asyncio.create_task(_renew(redis, holder))
    try:
        yield True
    finally:
        renewing.cancel()
        if await redis.get(RECONCILING_KEY) == holder.encode():
            await redis.delete(RECONCILING_KEY)


async def _renew(redis: ArqRedis, holder: str) -> None:
    """Renew the lease until cancelled, unless another worker has it by now."""
    while True:
        await asyncio.sleep(LEASE_MS / 3000)
        with suppress(RedisError, OSError):
            if await redis.get(RECONCILING_KEY) == holder.encode():
                await redis.pexpire(RECONCILING_KEY, LEASE_MS)
