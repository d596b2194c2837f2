"""One connection pool to Redis on which calls that arrive together share a round trip."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from hiredis import pack_command
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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio.client import Pipeline as RedisPipeline
    from redis.asyncio.connection import AbstractConnection

BATCH_COMMANDS_MAX = 128
"""Commands of one round trip; more only make the first of them wait for the last."""

FLIGHTS_MAX = 4
"""Round trips under way at once. While they are, further calls gather into the next one."""

WAITING_MAX = 10_000
"""Calls that may wait for a round trip; beyond it they are refused rather than queued."""

SOCKET_TIMEOUT_S = 2.0
"""A Redis that has not answered by then is treated as away."""

RETRY_AFTER_SECONDS = 1

NOT_NOW = (OutOfMemoryError, ReadOnlyError, ClusterDownError, TryAgainError)
"""What a Redis answers that is there but takes no writes: its memory is full, or it is a replica by now."""

NOT_NOW_PREFIX = "MISCONF"
"""The same of a disk that is full; the client has no type for it."""


class Pipeline:
    """Sends commands to Redis, those of one loop turn together.

    A command may run twice when a connection breaks, so only send what is safe to repeat.
    Fails closed: a Redis that cannot be reached raises `Unavailable`.
    """

    def __init__(self, url: str) -> None:
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=FLIGHTS_MAX + 2,
            timeout=SOCKET_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
        )
        self._redis = Redis(connection_pool=pool)
        self._waiting: deque[tuple[tuple[Any, ...], asyncio.Future[Any]]] = deque()
        self._flights: set[asyncio.Task[None]] = set()

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
        if len(self._waiting) >= WAITING_MAX:
            detail = "Too many requests wait for the inventory."
            raise Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((command, answer))
        if len(self._flights) < FLIGHTS_MAX:
            # The task starts in the next turn of the loop: calls of this turn join it.
            self._launch()
        return await answer

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
        """Wait for what is under way and close the connections."""
        await asyncio.gather(*self._flights, return_exceptions=True)
        await self._redis.aclose(close_connection_pool=True)

    def _launch(self) -> None:
        flight = asyncio.create_task(self._fly())
        self._flights.add(flight)
        flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        if self._waiting and len(self._flights) < FLIGHTS_MAX:
            self._launch()

    async def _fly(self) -> None:
        """One round trip for what waits now."""
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_COMMANDS_MAX))]
        if not batch:
            return
        try:
            answers = await self._exchange([command for command, _ in batch])
        except (RedisError, OSError) as error:
            for _, future in batch:
                _fail(future, error)
            return
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if isinstance(answer, RedisError):
                _fail(future, answer)
            elif not future.done():
                future.set_result(answer)

    async def _exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands on one connection and read their answers, errors of Redis among them.

        A pipeline of redis-py does the same for three times the processor time, most of it packing.
        """
        pool = self._redis.connection_pool
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command(b"".join(map(pack_command, commands)), check_health=False)
            return [await _answer(connection) for _ in commands]
        except BaseException:
            # What is still on its way would be read as the answer to somebody else's command.
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


async def _answer(connection: AbstractConnection) -> Any:  # noqa: ANN401  (whatever Redis answers)
    try:
        return await connection.read_response()
    except ResponseError as error:
        return error


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    """Answer with an error of the caller's own: shared ones would share a traceback."""
    if future.done():
        return
    wrong = isinstance(error, ResponseError) and not _is_for_now(error)
    future.set_exception(error if wrong else _away(error))


def _is_for_now(error: ResponseError) -> bool:
    """Whether the command may be carried out later as it is."""
    return isinstance(error, NOT_NOW) or str(error).startswith(NOT_NOW_PREFIX)


def _away(error: Exception) -> Unavailable:
    away = Unavailable("The inventory cannot be reached.", retry_after_seconds=RETRY_AFTER_SECONDS)
    away.__cause__ = error
    return away
