"""The way to Redis: calls that arrive together share one round trip."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from domain.kernel.refusals import Unavailable
from domain.store.redis.connection import Link, open_link
from domain.store.redis.server import INFO, Server

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline as RedisPipeline

CONNECTIONS_MAX = 6
"""Connections for what is off the hot path; everything else shares one."""

WAITING_MAX = 10_000
"""Calls that may wait for an answer; beyond it they are refused rather than queued."""

SOCKET_TIMEOUT_S = 2.0
"""A Redis that has not answered by then is treated as away."""

RETRY_AFTER_SECONDS = 1

NOT_NOW_TYPES = (OutOfMemoryError, ReadOnlyError)
"""What a Redis answers that is there but takes no writes: its memory is full, or it is a replica by now."""

NOT_NOW_CODES = frozenset(
    {
        "ASK",
        "BUSY",
        "CLUSTERDOWN",
        "LOADING",
        "MASTERDOWN",
        "MISCONF",
        "MOVED",
        "NOREPLICAS",
        "TRYAGAIN",
        "UNBLOCKED",
        "UNKILLABLE",
    }
)
"""The first words of errors that tell of the server's state and not of the command. The client has no types for
them: those it has arise in its client for clusters alone."""

REPLICA_CODES = frozenset({"MASTERDOWN"})
"""The first words with which only a replica answers; READONLY has a type."""

FOLLOW_S = 2.0
"""How often whoever asks for the primary looks where a new connection leads."""

REFUSED_AGAIN_S = 0.05
"""How long calls are refused without a new attempt after a replica was found where the primary should be."""


class Pipeline:
    """Sends commands to Redis, those of one loop turn together.

    Whether a command was carried out is not known when a connection breaks, so only send what is safe to
    repeat. Fails closed: a Redis that cannot be reached raises `Unavailable`, and so does a replica: a connection
    that leads to one is ended, and the next call opens another, which may lead to the new primary.
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
        self._refused_until_s = 0.0
        self._follow_at_s = 0.0

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
        return await self.call_on(link, *command)

    async def hold(self) -> Link:
        """The connection on which `call` sends now, for who must know that one server answered several calls.

        It ends with the server's process: whoever is answered on it after a call was asked the same process twice.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        link = self._link
        return await self._reach() if link is None or link.lost else link

    async def call_on(self, link: Link, *command: Any) -> Any:  # noqa: ANN401  (whatever Redis takes and answers)
        """Run one command on this connection; raises as `call` does, Unavailable also when the connection is lost."""
        if link.waiting >= WAITING_MAX:
            raise _too_many()
        answer = await link.send(command)
        if isinstance(answer, Exception):
            if _is_of_replica(answer):
                link.end(_replica())
            raise _failure(answer)
        return answer

    async def primary(self) -> tuple[Link, Server]:
        """The connection on which `call` sends, and who answers on it now.

        Now and then it looks where the address leads: a primary that nobody uses any more may live on, and its
        connections with it.

        Raises:
            Unavailable: Redis cannot be reached, or is a replica: the connection is ended then.
        """
        link = await self.hold()
        server = Server.of(await self.call_on(link, *INFO))
        if not server.primary:
            link.end(_replica())
            raise _away(_replica())
        return await self._follow(link, server)

    async def execute(self, pipeline: RedisPipeline) -> list[Any]:
        """Run a prepared pipeline on a connection of its own, for what is off the hot path.

        Raises:
            Unavailable: Redis cannot be reached, or refused a command.
        """
        # Connections of the pool are no older than this one, which leads to a primary.
        link = await self.hold()
        try:
            answers: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:
            if _is_of_replica(error):
                link.end(_replica())
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
        if asyncio.get_running_loop().time() < self._refused_until_s:
            raise _away(ConnectionLost("Redis was a replica a moment ago"))
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
            link, _ = await self._open()
            await self._use(link)
            return link
        finally:
            self._connecting = None

    async def _open(self) -> tuple[Link, Server]:
        """A new connection to a primary; raises RedisError, OSError."""
        connection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        link = await open_link(connection, timeout_s=SOCKET_TIMEOUT_S)
        try:
            return link, await self._primary_on(link)
        except BaseException:
            # Also for who leaves meanwhile: nobody else knows of this connection.
            link.end(ConnectionLost("connection to Redis given up"))
            raise

    async def _primary_on(self, link: Link) -> Server:
        """Who answers on a new connection; raises RedisError, also for a replica."""
        answer = await link.send(INFO)
        if isinstance(answer, Exception):
            raise answer
        server = Server.of(answer)
        if not server.primary:
            self._refused_until_s = asyncio.get_running_loop().time() + REFUSED_AGAIN_S
            raise _replica()
        return server

    async def _use(self, link: Link) -> None:
        """Send on this connection from now on. What the last one led to may have been another server."""
        before, self._link = self._link, link
        if before:
            before.end(ConnectionLost("another connection took its place"))
        with suppress(RedisError, OSError):
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def _follow(self, link: Link, server: Server) -> tuple[Link, Server]:
        """Where the address leads to by now, if that is another primary; one that cannot be reached changes nothing."""
        now_s = asyncio.get_running_loop().time()
        if now_s < self._follow_at_s:
            return link, server
        self._follow_at_s = now_s + FOLLOW_S
        try:
            fresh, found = await self._open()
        except (RedisError, OSError):
            return link, server
        if found.id == server.id:
            fresh.end(_Closed("it leads to where the other one does"))
            return link, server
        await self._use(fresh)
        return fresh, found


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
    return isinstance(error, NOT_NOW_TYPES) or _code(error) in NOT_NOW_CODES


def _is_of_replica(error: Exception) -> bool:
    """Whether only a replica answers so."""
    return isinstance(error, ReadOnlyError) or _code(error) in REPLICA_CODES


def _replica() -> ConnectionLost:
    return ConnectionLost("this Redis is a replica")


def _code(error: Exception) -> str:
    """The first word of an error, by which Redis tells kinds of errors apart."""
    return str(error).partition(" ")[0]


def _away(error: Exception) -> Unavailable:
    away = Unavailable("The inventory cannot be reached.", retry_after_seconds=RETRY_AFTER_SECONDS)
    away.__cause__ = error
    return away
