"""Refusal counts: how many requests for an event were refused in the last hour, by reason.

The counts inform organizers and are not exact: a process writes them to Redis once a second, and a process that is
killed loses the counts of that second. Fails open: no request waits for the write.
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
"""A key holds one hour by the clock, so the last sixty minutes are in two keys."""

EVENTS_MAX = 10_000
"""Events whose refusals a process counts within a second; refusals of further events are not counted."""


class RefusalCounts:
    """Counts refusals in memory, and writes them to Redis once a second."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._counts: dict[UUID, Counter[str]] = {}
        self._flushing: asyncio.Task[None] | None = None

    def count(self, event_id: UUID, code: str) -> None:
        """Count one refusal."""
        if event_id not in self._counts and len(self._counts) >= EVENTS_MAX:
            return
        self._counts.setdefault(event_id, Counter())[code] += 1
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.create_task(self._flush_soon())

    async def last_hour(self, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
        """The refusals of the last sixty minutes, by event and reason."""
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
        """Write the remaining counts to Redis."""
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
            # Counts of a second in which Redis cannot be reached are dropped: they are for information only.
            return


def _key(event_id: UUID, hour: int) -> str:
    return f"{{p{partition_of_event(event_id)}}}:refused:{event_id}:{hour}"
