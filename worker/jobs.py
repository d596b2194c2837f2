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
"""How soon a job is tried again that failed for a reason nobody foresaw; arq does so four times."""

RELIST = Pace(seconds=1.5, rest=5.0)
"""How one reconciliation looks for records that nobody would persist, a thousand at a time: for a quarter of a second
in all. 100,000 are looked through in half a minute."""

RECONCILE = Pace(seconds=2.5, rest=5.0)
"""How it then compares books. At one go either would hold up by half what is booked and persisted meanwhile; of the
job's five seconds an eighth is work."""

LOOKED_THROUGH_KEY = "onsale:looked-through"
"""The cursor up to which records were looked through."""

RECONCILED_KEY = "onsale:reconciled"
"""The event up to which the pass under way has come; empty when the next one begins at the first."""


def tried_again(job: Job) -> Job:
    """Try a job again whatever it raises: arq by itself drops what fails.

    One that takes too long is dropped all the same: the sweep, or the next one of its kind, does its work.
    """

    @functools.wraps(job)
    async def run(ctx: dict[str, Any], *args: Any) -> Any:  # noqa: ANN401  (what the job takes and answers)
        try:
            return await job(ctx, *args)
        except Exception as error:
            log.exception("job_failed", job=job.__name__)
            raise Retry(defer=RETRY_S) from error

    return run


RECONCILING_KEY = "onsale:reconciling"
"""Whose reconciliation is under way."""

LEASE_MS = 6_000
"""How long a killed worker keeps the next reconciliation away: no longer than one that goes well takes."""

RECONCILE_S_MAX = 15.0
"""When a reconciliation is given up until the next: before arq, after 20 s, drops it with a traceback."""


@tried_again
async def persist_partition(ctx: dict[str, Any], partition: int) -> int:
    """Answer a doorbell; what cannot be written now is left to the sweep, what is not done in time to another job."""
    stores: Stores = ctx["stores"]
    redis: ArqRedis = ctx["redis"]
    try:
        written = await persist(stores, partition)
        if written and (await stores.inventory.pulse(partition)).unpersisted_count:
            await redis.enqueue_job(PERSIST_JOB, partition)
    except (Unavailable, EpochOver) as error:
        log.warning("persist_put_off", partition=partition, cause=str(error))
        return 0
    return written


@tried_again
async def clear_cancelled_event(ctx: dict[str, Any], event_id: str) -> bool:
    """Cancel the bookings of a cancelled event, some thousands a time; the sweep has it called until it is done."""
    try:
        return await clear_event(ctx["stores"], UUID(event_id))
    except (Unavailable, EpochOver) as error:
        log.warning("clearing_put_off", event_id=event_id, cause=str(error))
        return False


@tried_again
async def reconcile_all(ctx: dict[str, Any]) -> int:
    """Compare and mend books for a while, going on where the last one stopped; answers how many differed.

    Does nothing while another one is under way, in whatever worker: on a slow PostgreSQL, which makes each one last
    longer than the time between two, they would only make it slower.
    """
    stores: Stores = ctx["stores"]
    redis: ArqRedis = ctx["redis"]
    async with _alone(redis) as alone:
        if not alone:
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
    """Whether no other reconciliation is under way; keeps others away until the end of the block.

    A worker that is killed or stopped keeps them away for LEASE_MS more. One that goes on after that does so beside
    another, which is safe.
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
    """Keep the lease until cancelled; one that was lost is another worker's."""
    while True:
        await asyncio.sleep(LEASE_MS / 3000)
        with suppress(RedisError, OSError):
            if await redis.get(RECONCILING_KEY) == holder.encode():
                await redis.pexpire(RECONCILING_KEY, LEASE_MS)
