"""Looking at both counts of every event while faults happen: oversold for a moment is oversold."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import asyncpg
from msgspec import Struct
from redis.exceptions import RedisError

from domain.kernel.counters import POOL_MAIN
from domain.store.redis.keys import counters_key
from ops.chaos.stack.servers import hash_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from domain.sales.events import Event
    from ops.chaos.stack.stack import Stack

LOOK_SECONDS = 0.2

LOOK_SECONDS_MAX = 5.0
"""A server that stands still is not waited for longer than this."""


ASYNCPG_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError)
"""What asyncpg raises of itself when a server goes away while it talks to it."""


class Sight(Struct):
    """The most and the least places that were ever seen taken, by each side's count."""

    redis_most: int = 0
    redis_least: int = 0
    postgres_most: int = 0
    looks: int = 0


class Watch:
    """Looks past every proxy."""

    def __init__(self, stack: Stack, events: Sequence[Event]) -> None:
        self._stack = stack
        self._events = events
        self.sights = {event.id: Sight() for event in events}

    async def look_on(self) -> None:
        """Look until cancelled; a server that is away is looked at again later."""
        while True:
            with suppress(RedisError, OSError, TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    await self._look_at_redis()
            with suppress(asyncpg.PostgresError, *ASYNCPG_ERRORS, OSError, TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    await self._look_at_postgres()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_at_redis(self) -> None:
        async with self._stack.valkey.connect() as redis:
            for event in self._events:
                counters = await hash_of(redis, counters_key(event.id))
                self._saw_redis(event.id, int(counters.get(POOL_MAIN.encode(), 0)))

    def _saw_redis(self, event_id: UUID, taken: int) -> None:
        sight = self.sights[event_id]
        sight.redis_most = max(sight.redis_most, taken)
        sight.redis_least = min(sight.redis_least, taken)
        sight.looks += 1

    async def _look_at_postgres(self) -> None:
        connection = await self._stack.postgres.connect()
        try:
            for event_id, taken in await connection.fetch(_CONFIRMED):
                if event_id in self.sights:
                    sight = self.sights[event_id]
                    sight.postgres_most = max(sight.postgres_most, int(taken))
        finally:
            connection.terminate()


_CONFIRMED = "SELECT event_id, sum(quantity) FROM bookings WHERE status = 'confirmed' GROUP BY event_id"
