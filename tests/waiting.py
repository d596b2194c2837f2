"""Waiting for conditions instead of times."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from domain.background.persisting import persist_once
from domain.kernel.partitions import PARTITIONS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.engine import Stores

Answer = TypeVar("Answer")

WAIT_SECONDS_MAX = 30.0
"""Longer than anything that is waited for takes on a busy machine."""

LOOK_EVERY_SECONDS = 0.01

ROUNDS_MAX = 1_000
"""Batches of one partition: more than any test leaves to persist."""


async def eventually(
    look: Callable[[], Awaitable[Answer]],
    *,
    is_so: Callable[[Answer], bool] = bool,
    seconds: float = WAIT_SECONDS_MAX,
) -> Answer:
    """Wait until `is_so` holds for the answer of `look`; returns that answer.

    Raises:
        AssertionError: it never did; carries the last answer.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while True:
        looked_at = loop.time()
        if is_so(answer := await look()):
            return answer
        # A look that began in time may have been answered late on a busy machine.
        if looked_at > deadline:
            message = f"still {answer!r} after {seconds} s"
            raise AssertionError(message)
        await asyncio.sleep(LOOK_EVERY_SECONDS)


async def persist_all(stores: Stores) -> int:
    """Persist until nothing is unpersisted anywhere, as a worker would; answers how many were written."""
    written = 0
    for partition in range(PARTITIONS):
        for _ in range(ROUNDS_MAX):
            done = await persist_once(stores, partition)
            written += done.written
            if done.left == 0:
                break
        else:
            message = f"partition {partition} is never persisted"
            raise AssertionError(message)
    return written


async def keep_persisting(stores: Stores) -> None:
    """Persist whatever comes, until cancelled."""
    while True:
        for partition, pulse in enumerate(await stores.unpersisted.pulses()):
            if pulse.unpersisted_count:
                await persist_once(stores, partition)
        await asyncio.sleep(LOOK_EVERY_SECONDS)
