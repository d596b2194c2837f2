"""Wake-ups: persists a partition as soon as an API process says that it has an unpersisted booking."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from domain.background.persisting import persist
from domain.kernel.partitions import PARTITIONS
from domain.kernel.refusals import Unavailable
from domain.store.job_queue import wake_ups
from domain.store.postgres.epochs import EpochOver

if TYPE_CHECKING:
    from domain.engine import Stores

log = structlog.get_logger()

AT_ONCE_MAX = 8
"""Partitions that a worker persists at the same time: as many as it has connections to PostgreSQL."""

WAITING_MAX = 4 * PARTITIONS
"""Wake-ups that a worker answers at the same time; further ones are left to the sweep."""

LISTEN_AGAIN_S = 0.25
"""The pause before a worker listens again after it lost the connection."""

FINISH_S_MAX = 10.0
"""How long a worker that stops waits for the batches under way."""


async def listen(stores: Stores) -> None:
    """Persist the partitions of all wake-ups until cancelled, then finish what is under way.

    While the connection is lost, wake-ups become jobs, and the sweep finds those that were lost with it.
    """
    wakened = Wakened(stores)
    try:
        while True:
            try:
                async with aclosing(wake_ups(stores.queue)) as partitions:
                    async for partition in partitions:
                        wakened.begin(partition)
            except (RedisError, OSError) as error:
                log.warning("wake_ups_lost", cause=str(error))
            await asyncio.sleep(LISTEN_AGAIN_S)
    finally:
        await wakened.finish()


class Wakened:
    """The partitions that are being persisted after a wake-up."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, partition: int) -> None:
        """Persist a partition in the background.

        Also if this process persists it already: it may have read the last booking just before this one.
        """
        if len(self._tasks) >= WAITING_MAX:
            return
        task = asyncio.create_task(self._persist(partition))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish(self) -> None:
        """Wait for the batches under way, and end what is not done in time."""
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=FINISH_S_MAX)
        finally:
            for task in self._tasks:
                task.cancel()

    async def _persist(self, partition: int) -> None:
        """Persist a partition until it is empty. Between two calls, partitions that wait have their turn."""
        left = 1
        try:
            while left:
                async with self._room:
                    written = await persist(self._stores, partition)
                    left = (await self._stores.unpersisted.pulse(partition)).unpersisted_count if written else 0
        except (Unavailable, EpochOver) as error:
            log.warning("persist_put_off", partition=partition, cause=str(error))
        except Exception:
            # The sweep tries again.
            log.exception("persist_failed", partition=partition)
