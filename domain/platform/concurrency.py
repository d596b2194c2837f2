"""Structured concurrency: tasks that run together and end together."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Item = TypeVar("Item")
Done = TypeVar("Done")


async def together(do: Callable[[Item], Awaitable[Done]], items: Iterable[Item], *, at_once_max: int) -> list[Done]:
    """Call `do` for every item, at most `at_once_max` at a time.

    If one call fails, the others end before its failure is raised.
    """
    free = asyncio.Semaphore(at_once_max)

    async def in_turn(item: Item) -> Done:
        async with free:
            return await do(item)

    tasks = [asyncio.create_task(in_turn(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
