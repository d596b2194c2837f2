"""How far the rebuild under way has come, for whoever looks at metrics. Redis forgets it by itself.

Fails open: a rebuild goes on when Redis does not keep it, as when its memory is full. Nothing is decided by it.
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
"""A rebuild says something every 200 events, some hundred times in this."""


class Progress(Struct, frozen=True):
    """The epoch that a rebuild makes, the events whose counters it has written, and how many there are."""

    epoch: int
    done: int
    of: int


async def tell(pipeline: Pipeline, progress: Progress) -> None:
    """Say how far it is."""
    fields = ("epoch", progress.epoch, "done", progress.done, "of", progress.of)
    with suppress(Unavailable):
        await pipeline.call("HSET", PROGRESS_KEY, *fields)
        await pipeline.call("EXPIRE", PROGRESS_KEY, KEPT_S)


async def told(pipeline: Pipeline) -> Progress | None:
    """What was said last, None when no rebuild was lately; raises Unavailable."""
    found = await pipeline.call("HMGET", PROGRESS_KEY, "epoch", "done", "of")
    return None if None in found else Progress(*map(int, found))
