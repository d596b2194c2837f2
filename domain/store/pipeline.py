"""The way to Redis: calls that arrive together share one round trip."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import (
    ClusterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from domain.refusals import Unavailable
from domain.store.link import Link, open_link

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline as RedisPipeline

CONNECTIONS_MAX = 6
"""Connections for what is off the hot path; everything else shares one."""

WAITING_MAX = 10_000
"""Calls that may wait for an answer; beyond it they are refused rather than queued."""

SOCKET_TIMEOUT_S = 2.0
"""A Redis that has not answered by then is treated as away."""

RETRY_AFTER_SECONDS = 1

NOT_NOW = (OutOfMemoryError, ReadOnlyError, ClusterDownError, TryAgainError)
"""What a Redis answers that is there but takes no writes: its memory is full, or it is a replica by now."""

NOT_NOW_PREFIX = "MISCONF"
"""The same of a disk that is full; the client has no type for it."""


class Pipeline:
    """Sends commands to Redis, those of one loop turn together.

    Whether a command was carried out is not known when a connection breaks, so only send what is safe to
    repeat. Fails closed: a Redis that cannot be reached raises `Unavailable`.
    """

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=SOCKET_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
        )
        self._redis = Redis(connection_pool=pool)
        self._link: Link | None = None
        self._connecting: asyncio.Task[Link] | None = None
        self._waiting_for_link = 0

    @property
    def redis(self) -> Redis:
        """The client itself, for what is off the hot path."""
        return self._redis

    async def call(self, *command: Any) -> Any:  # noqa: ANN401  (whatever Redis takes and answers)
        """Run one command.

        Raises:
            Unavailable: Redis cannot be reached or takes no writes, or too many calls wait for it.
            ResponseError: Redis refused the command.
        """
        link = self._link
        if link is None or link.lost:
            link = await self._reach()
        if link.waiting >= WAITING_MAX:
            raise _too_many()
        answer = await link.send(command)
        if isinstance(answer, Exception):
            raise _failure(answer)
        return answer

    async def execute(self, pipeline: RedisPipeline) -> list[Any]:
        """Run a prepared pipeline on a connection of its own, for what is off the hot path.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        try:
            answers: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:
            raise _away(error) from error
        return answers

    async def close(self) -> None:
        """Close the connections; what is under way fails."""
        if self._connecting:
            await asyncio.wait([self._connecting])
        if self._link:
            self._link.end(_Closed("this process is ending"))
        await self._redis.aclose(close_connection_pool=True)

    async def _reach(self) -> Link:
        """A connection that works; a crowd that needs one shares the attempt."""
        if self._waiting_for_link >= WAITING_MAX:
            raise _too_many()
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._connect())
            self._connecting.add_done_callback(_seen)
        self._waiting_for_link += 1
        try:
            return await asyncio.shield(self._connecting)
        except (RedisError, OSError) as error:
            raise _away(error) from None
        finally:
            self._waiting_for_link -= 1

    async def _connect(self) -> Link:
        try:
            connection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            self._link = await open_link(connection, timeout_s=SOCKET_TIMEOUT_S)
            return self._link
        finally:
            self._connecting = None


def _seen(attempt: asyncio.Task[Link]) -> None:
    """Everybody who waited for a failed attempt may have left; that is no fault to be logged."""
    if not attempt.cancelled():
        attempt.exception()


class _Closed(RedisError):
    """The process closes its connection."""


def _failure(error: Exception) -> Exception:
    """What a call raises for this answer: an error of its own, for shared ones would share a traceback."""
    wrong = isinstance(error, ResponseError) and not _is_for_now(error)
    return error if wrong else _away(error)


def _too_many() -> Unavailable:
    return Unavailable("Too many requests wait for the inventory.", retry_after_seconds=RETRY_AFTER_SECONDS)


def _is_for_now(error: ResponseError) -> bool:
    """Whether the command may be carried out later as it is."""
    return isinstance(error, NOT_NOW) or str(error).startswith(NOT_NOW_PREFIX)


def _away(error: Exception) -> Unavailable:
    away = Unavailable("The inventory cannot be reached.", retry_after_seconds=RETRY_AFTER_SECONDS)
    away.__cause__ = error
    return away
