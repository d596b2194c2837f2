"""The turnstile: how many requests for an event were refused, by reason, in the last hour.

For organizers to look at, not for anybody to rely on: a process tells Redis once a second what it refused,
and one that is killed takes that second's count with it. Fails open: nobody waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from domain.store.redis.pipeline import Pipeline

FLUSH_S = 1.0
MINUTES_SHOWN = 60
KEPT_S = 2 * 3_600
"""A key holds an hour by the clock; the last sixty minutes lie in two of them."""

EVENTS_MAX = 10_000
"""Events whose refusals a process counts within a second; refusals of further ones are not counted."""


class Turnstile:
    """Counts refusals in memory, and in Redis once a second."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._counts: dict[UUID, Counter[str]] = {}
        self._flushing: asyncio.Task[None] | None = None

    def count(self, event_id: UUID, code: str) -> None:
        """One more was refused."""
        if event_id not in self._counts and len(self._counts) >= EVENTS_MAX:
            return
        self._counts.setdefault(event_id, Counter())[code] += 1
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_soon())

    async def last_hour(self, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
        """Per event and reason, how many were refused in the last sixty minutes."""
        minute = int(time.time() // 60)
        hours = (minute // 60 - 1, minute // 60)
        keys = [_key(event_id, hour) for event_id in event_ids for hour in hours]
        answers = await asyncio.gather(*(self._pipeline.call("HGETALL", key) for key in keys))
        found: dict[UUID, Counter[str]] = {event_id: Counter() for event_id in event_ids}
        for index, fields in enumerate(answers):
            for field, number in zip(fields[::2], fields[1::2], strict=True):
                code, _, of = field.decode().rpartition(":")
                if int(of) > minute - MINUTES_SHOWN:
                    found[event_ids[index // len(hours)]][code] += int(number)
        return {event_id: dict(counts) for event_id, counts in found.items()}

    async def close(self) -> None:
        """Tell Redis what is left to tell."""
        if self._flushing is not None:
            self._flushing.cancel()
            await asyncio.gather(self._flushing, return_exceptions=True)
        await self._flush()

    async def _flush_soon(self) -> None:
        while self._counts:
            await asyncio.sleep(FLUSH_S)
            await self._flush()

    async def _flush(self) -> None:
        counts, self._counts = self._counts, {}
        if not counts:
            return
        minute = int(time.time() // 60)
        pipe = self._pipeline.redis.pipeline(transaction=False)
        for event_id, codes in counts.items():
            key = _key(event_id, minute // 60)
            for code, number in codes.items():
                pipe.hincrby(key, f"{code}:{minute}", number)
            pipe.expire(key, KEPT_S)
        try:
            await self._pipeline.execute(pipe)
        except Unavailable:
            # The counts of a second in which Redis was away are nobody's business.
            return


def _key(event_id: UUID, hour: int) -> str:
    return f"{{p{partition_of_event(event_id)}}}:refused:{event_id}:{hour}"
