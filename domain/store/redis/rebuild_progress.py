"""The progress of a running rebuild, for metrics. The key expires by itself.

Fails open: if Redis does not store it, for example because its memory is full, the rebuild goes on. No decision depends
on it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct

from domain.kernel.refusals import Unavailable

if TYPE_CHECKING:
    from domain.store.redis.pipeline import Pipeline

PROGRESS_KEY = "rebuild:progress"

KEPT_S = 60
"""A rebuild reports every 200 events, some hundred times in this period."""


class Progress(Struct, frozen=True):
    """The epoch that a rebuild makes, the events whose counters it has written, and their total."""

    epoch: int
    done: int
    of: int


async def write_progress(pipeline: Pipeline, progress: Progress) -> None:
    """Store the progress."""
    fields = ("epoch", progress.epoch, "done", progress.done, "of", progress.of)
    with suppress(Unavailable):
        await pipeline.call("HSET", PROGRESS_KEY, *fields)
        await pipeline.call("EXPIRE", PROGRESS_KEY, KEPT_S)


async def read_progress(pipeline: Pipeline) -> Progress | None:
    """The progress stored last, None when no rebuild ran lately; raises Unavailable."""
    found = await pipeline.call("HMGET", PROGRESS_KEY, "epoch", "done", "of")
    return None if None in found else Progress(*map(int, found))
