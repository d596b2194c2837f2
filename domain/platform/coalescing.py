"""Request coalescing: callers that ask for the same thing at the same time share one read."""

from __future__ import annotations

import asyncio
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Key = TypeVar("Key")
Value = TypeVar("Value")
Error = TypeVar("Error", bound=BaseException)

WAITING_MAX = 10_000
"""Reads that may wait for their start."""

ANY_AGE = float("inf")
"""For work that has the same result whenever it began, such as opening a connection."""


class Coalesced(Generic[Key, Value]):
    """Shares reads between callers with the same key.

    A read starts after the call, so its value is never older than the request. While a read is under way, later callers
    share the next one, which starts when the first has ended. So thousands of callers cost two reads at a time.

    With `joined_s_max`, callers also join the read under way if it started at most that long ago. An older read, which
    may hang, delays nobody: the next read starts at once.
    """

    def __init__(
        self,
        read: Callable[[Key], Awaitable[Value]],
        *,
        joined_s_max: float = 0.0,
        too_many: Callable[[], Exception] = asyncio.QueueFull,
    ) -> None:
        self._read = read
        self._joined_s_max = joined_s_max
        self._too_many = too_many
        self._next: dict[Key, asyncio.Task[Value]] = {}
        self._running: dict[Key, _Running] = {}

    async def of(self, key: Key) -> Value:
        """The value for a key.

        The cancellation of a caller does not cancel the read. Each caller raises its own copy of an exception of the
        read, and the exception of `too_many` when WAITING_MAX reads wait.
        """
        reading = self._joinable(key) or self._begin(key)
        await asyncio.wait([reading])
        error = reading.exception()
        if error is not None:
            raise own_copy(error)
        return reading.result()

    async def end(self) -> None:
        """Wait until no read is under way."""
        while under_way := [*self._next.values(), *(running.task for running in self._running.values())]:
            await asyncio.wait(under_way)

    def _joinable(self, key: Key) -> asyncio.Task[Value] | None:
        running = self._running.get(key) if self._joined_s_max else None
        if running is not None and _now_s() - running.began_s <= self._joined_s_max:
            return running.task
        return self._next.get(key)

    def _begin(self, key: Key) -> asyncio.Task[Value]:
        if len(self._next) >= WAITING_MAX:
            raise self._too_many()
        before = None if self._joined_s_max else self._running.get(key)
        reading = self._next[key] = asyncio.create_task(self._read_after(before, key))
        reading.add_done_callback(partial(self._forget, key))
        return reading

    def _forget(self, key: Key, reading: asyncio.Task[Value]) -> None:
        """Forget a read that was cancelled before its start, so that the next caller begins another.

        The exception is retrieved: if every caller has left, asyncio would log it as never retrieved.
        """
        if self._next.get(key) is reading:
            del self._next[key]
        if not reading.cancelled():
            reading.exception()

    async def _read_after(self, before: _Running | None, key: Key) -> Value:
        if before is not None:
            await asyncio.wait([before.task])
        running = self._running[key] = _Running(self._next.pop(key), _now_s())
        try:
            return await self._read(key)
        finally:
            if self._running.get(key) is running:
                del self._running[key]


class _Running(Struct, frozen=True):
    """A read under way."""

    task: asyncio.Task[Any]
    began_s: float


def own_copy(error: Error) -> Error:
    """A copy of an exception for one caller: a shared one would collect the tracebacks of all callers.

    It has the same cause and begins with the same traceback.
    """
    copied = copy(error).with_traceback(error.__traceback__)
    copied.__cause__ = error.__cause__
    return copied


def _now_s() -> float:
    return asyncio.get_running_loop().time()
