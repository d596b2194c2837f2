"""The connection to Redis: concurrent calls share one round trip."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

from domain.kernel.refusals import Unavailable
from domain.platform.coalescing import ANY_AGE, Coalesced
from domain.store.redis.connection import Link, open_link
from domain.store.redis.server import INFO, Server

if TYPE_CHECKING:
    from redis.asyncio.client import Pipeline as RedisPipeline

CONNECTIONS_MAX = 6
"""Connections for calls off the hot path; all other calls share one."""

WAITING_MAX = 10_000
"""Calls that may wait for an answer; further calls are refused rather than queued."""

SOCKET_TIMEOUT_S = 2.0
"""A Redis that does not answer within this time counts as unreachable."""

RETRY_AFTER_SECONDS = 1

NOT_NOW_TYPES = (OutOfMemoryError, ReadOnlyError)
"""Errors of a Redis that is reachable but accepts no writes: its memory is full, or it has become a replica."""

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
"""First words of errors that are about the server's state, not about the command. The client library has types for some
of them, but raises these only in its cluster client."""

REPLICA_CODES = frozenset({"MASTERDOWN"})
"""First words that only a replica answers with; READONLY has a type of its own."""

FOLLOW_S = 2.0
"""How often `primary` opens a new connection to see which server the address leads to."""

REFUSED_AGAIN_S = 0.05
"""How long calls are refused without a new attempt after a replica was found instead of the primary."""


class Pipeline:
    """Sends commands to Redis; commands of one turn of the event loop are sent together.

    When a connection breaks, it is not known whether its commands were carried out, so every command must be safe to
    repeat. Fails closed: if Redis cannot be reached or is a replica, `Unavailable` is raised. A connection to a replica
    is ended; the next call opens another, which may lead to the new primary.
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
        self._links = Coalesced[None, Link](lambda _: self._connect(), joined_s_max=ANY_AGE)
        self._waiting_for_link = 0
        self._refused_until_s = 0.0
        self._follow_at_s = 0.0

    @property
    def redis(self) -> Redis:
        """The client of the library, for calls off the hot path."""
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
        """The connection that `call` uses now, for callers that need several answers from one server process.

        A connection ends with the server's process, so two answers on one connection come from the same process.

        Raises:
            Unavailable: Redis cannot be reached.
        """
        link = self._link
        return await self._reach() if link is None or link.lost else link

    async def call_on(self, link: Link, *command: Any) -> Any:  # noqa: ANN401  (whatever Redis takes and answers)
        """Run one command on this connection; raises as `call` does, and Unavailable when the connection is lost."""
        if link.waiting >= WAITING_MAX:
            raise _too_many()
        answer = await link.send(command)
        if isinstance(answer, Exception):
            if _is_of_replica(answer):
                link.end(_replica())
            raise _failure(answer)
        return answer

    async def primary(self) -> tuple[Link, Server]:
        """The connection that `call` uses, and the server at its other end.

        Every FOLLOW_S it also opens a new connection: after a failover the old primary may live on with its
        connections, while the address leads to the new one.

        Raises:
            Unavailable: Redis cannot be reached, or is a replica, in which case the connection is ended.
        """
        link = await self.hold()
        server = Server.of(await self.call_on(link, *INFO))
        if not server.primary:
            link.end(_replica())
            raise _away(_replica())
        return await self._follow(link, server)

    async def execute(self, pipeline: RedisPipeline) -> list[Any]:
        """Run a prepared pipeline on a connection of its own, for calls off the hot path.

        Raises:
            Unavailable: Redis cannot be reached, or refused a command.
        """
        # `hold` makes sure that the address leads to a primary. Connections of the pool are no older than this one.
        link = await self.hold()
        try:
            answers: list[Any] = await pipeline.execute()
        except (RedisError, OSError) as error:
            if _is_of_replica(error):
                link.end(_replica())
            raise _away(error) from error
        return answers

    async def close(self) -> None:
        """Close the connections; calls under way fail."""
        await self._links.end()
        if self._link:
            self._link.end(_Closed("this process is ending"))
        await self._redis.aclose(close_connection_pool=True)

    async def _reach(self) -> Link:
        """A working connection. Request coalescing: concurrent callers share one attempt to connect."""
        if self._waiting_for_link >= WAITING_MAX:
            raise _too_many()
        if asyncio.get_running_loop().time() < self._refused_until_s:
            raise _away(ConnectionLost("Redis was a replica a moment ago"))
        self._waiting_for_link += 1
        try:
            return await self._links.of(None)
        except (RedisError, OSError) as error:
            raise _away(error) from None
        finally:
            self._waiting_for_link -= 1

    async def _connect(self) -> Link:
        link, _ = await self._open()
        await self._use(link)
        return link

    async def _open(self) -> tuple[Link, Server]:
        """A new connection to a primary; raises RedisError, OSError."""
        connection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
        link = await open_link(connection, timeout_s=SOCKET_TIMEOUT_S)
        try:
            return link, await self._primary_on(link)
        except BaseException:
            # Cancellation is included: nothing else refers to this connection, so it must be ended here.
            link.end(ConnectionLost("connection to Redis given up"))
            raise

    async def _primary_on(self, link: Link) -> Server:
        """The server on a new connection; raises RedisError, also for a replica."""
        answer = await link.send(INFO)
        if isinstance(answer, Exception):
            raise answer
        server = Server.of(answer)
        if not server.primary:
            self._refused_until_s = asyncio.get_running_loop().time() + REFUSED_AGAIN_S
            raise _replica()
        return server

    async def _use(self, link: Link) -> None:
        """Send on this connection from now on, and close the pool's connections: they may lead to another server."""
        before, self._link = self._link, link
        if before:
            before.end(ConnectionLost("another connection took its place"))
        with suppress(RedisError, OSError):
            await self._redis.connection_pool.disconnect(inuse_connections=False)

    async def _follow(self, link: Link, server: Server) -> tuple[Link, Server]:
        """The primary that the address leads to now. If it cannot be reached, the present connection stays in use."""
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


class _Closed(RedisError):
    """The process closes its connection."""


def _failure(error: Exception) -> Exception:
    """The exception for an error answer. Each call raises its own: a shared one would collect tracebacks."""
    wrong = isinstance(error, ResponseError) and not _is_for_now(error)
    return error if wrong else _away(error)


def _too_many() -> Unavailable:
    return Unavailable("Too many requests wait for the inventory.", retry_after_seconds=RETRY_AFTER_SECONDS)


def _is_for_now(error: ResponseError) -> bool:
    """Whether the same command may succeed later."""
    return isinstance(error, NOT_NOW_TYPES) or _code(error) in NOT_NOW_CODES


def _is_of_replica(error: Exception) -> bool:
    """Whether only a replica gives this answer."""
    return isinstance(error, ReadOnlyError) or _code(error) in REPLICA_CODES


def _replica() -> ConnectionLost:
    return ConnectionLost("this Redis is a replica")


def _code(error: Exception) -> str:
    """The first word of an error, which Redis uses as its code."""
    return str(error).partition(" ")[0]


def _away(error: Exception) -> Unavailable:
    away = Unavailable("The inventory cannot be reached.", retry_after_seconds=RETRY_AFTER_SECONDS)
    away.__cause__ = error
    return away
