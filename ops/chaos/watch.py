"""Looks at both servers' counts while faults happen: an event that is oversold for a moment is oversold."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from domain.kernel.counters import POOL_MAIN
from ops.evidence.books import UNREACHABLE, read_counters
from ops.evidence.evidence import Extremes
from ops.evidence.servers import postgres_of, redis_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from domain.platform.settings import Settings

LOOK_SECONDS = 0.2

ANSWER_SECONDS_MAX = 5.0
"""The longest wait for a server that a fault holds."""


class Watch:
    """The extremes of each event, read past every proxy."""

    def __init__(self, settings: Settings, event_ids: Iterable[UUID]) -> None:
        self._settings = settings
        self.seen = {event_id: Extremes() for event_id in event_ids}

    async def look_on(self) -> None:
        """Look until cancelled; a server that is away is looked at again later."""
        while True:
            for look in (self._look_at_redis, self._look_at_postgres):
                with suppress(*UNREACHABLE):
                    async with asyncio.timeout(ANSWER_SECONDS_MAX):
                        await look()
            await asyncio.sleep(LOOK_SECONDS)

    async def _look_at_redis(self) -> None:
        async with redis_of(self._settings) as redis:
            for event_id, seen in self.seen.items():
                counted = await read_counters(redis, event_id)
                taken = counted.get(POOL_MAIN, 0)
                for name, number in counted.items():
                    seen.counters[name] = max(number, seen.counters.get(name, 0))
                seen.redis_most = max(seen.redis_most, taken)
                seen.redis_least = min(seen.redis_least, taken)

    async def _look_at_postgres(self) -> None:
        async with postgres_of(self._settings) as postgres:
            for event_id, taken in await postgres.fetch(_CONFIRMED, list(self.seen)):
                self.seen[event_id].postgres_most = max(self.seen[event_id].postgres_most, int(taken))


_CONFIRMED = """
    SELECT event_id, sum(quantity) FROM bookings WHERE status = 'confirmed' AND event_id = ANY($1) GROUP BY event_id
"""
