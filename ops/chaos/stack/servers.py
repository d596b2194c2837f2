"""Valkey and PostgreSQL as a trial breaks them. Each is started from the main thread and killed by its pid."""

from __future__ import annotations

import asyncio
import resource
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
import psutil
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.embedded.server import STOP_DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from ops.embedded.postgres import EmbeddedPostgres
    from ops.embedded.server import EmbeddedServer
    from ops.embedded.valkey import EmbeddedValkey

BYTES_LEFT_ON_DISK = 64
"""Left on a full disk: the next record is written in part, as on a real one."""

MEMORY_BYTES_TINY = 1
"""Less than Valkey uses, so that every write is refused."""

COPY_SECONDS = 2.0
"""How often the append-only file is copied; `go_back` restores a copy."""

CROWD_MAX = 120
"""More connections than PostgreSQL accepts."""


async def start(server: EmbeddedServer) -> None:
    """Start it and return when it answers.

    Raises:
        ServerFailed: it ended, or does not answer in time.
    """
    server.spawn()
    await asyncio.to_thread(server.wait_until, server.ready)


async def kill(server: EmbeddedServer) -> None:
    """Kill it as `kill -9` does; its children are gone when this returns."""
    await asyncio.to_thread(server.kill)


@asynccontextmanager
async def stopped(server: EmbeddedServer) -> AsyncIterator[bool]:
    """Stop the server and its children with SIGSTOP during the block: they exist and do not answer."""
    # The main process first: it then makes no more children.
    server.signal(signal.SIGSTOP)
    _signal_children(server, signal.SIGSTOP)
    try:
        yield True
    finally:
        server.signal(signal.SIGCONT)
        _signal_children(server, signal.SIGCONT)


def _signal_children(server: EmbeddedServer, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(server.pid).children():
            with suppress(psutil.NoSuchProcess):
                child.send_signal(number)


class Valkey:
    """The inventory's and the queue's server."""

    def __init__(self, server: EmbeddedValkey, copies: Path) -> None:
        self.server = server
        self._copies = copies
        self._newest = 0

    def connect(self) -> Redis:
        """A client that uses no proxy."""
        return Redis(unix_socket_path=str(self.server.socket_path), socket_timeout=STOP_DEADLINE_SECONDS)

    async def keep_copies(self) -> None:
        """Copy the append-only file every COPY_SECONDS until cancelled; `go_back` restores the last copy but one."""
        while True:
            await asyncio.sleep(COPY_SECONDS)
            with suppress(OSError, shutil.Error):
                await asyncio.to_thread(self._copy)

    def _copy(self) -> None:
        number = self._newest + 1
        shutil.copytree(self.server.files, self._copies / str(number))
        shutil.rmtree(self._copies / str(number - 2), ignore_errors=True)
        self._newest = number

    async def wipe(self) -> None:
        """Delete every key and keep running: the script cache survives."""
        async with self.connect() as redis:
            await redis.flushall()

    def empty(self) -> None:
        """Delete the files; only while it is not running."""
        shutil.rmtree(self.server.files)

    def go_back(self) -> None:
        """Restore the files of some seconds ago, none without a copy; only while it is not running."""
        self.empty()
        for number in (self._newest - 1, self._newest):
            copy = self._copies / str(number)
            if copy.exists():
                shutil.copytree(copy, self.server.files)
                return

    @asynccontextmanager
    async def full(self) -> AsyncIterator[bool]:
        """Leave no memory during the block: writes are refused, reads are answered."""
        async with self.connect() as redis:
            await redis.config_set("maxmemory", MEMORY_BYTES_TINY)
        try:
            yield True
        finally:
            with suppress(RedisError, OSError):
                async with self.connect() as redis:
                    await redis.config_set("maxmemory", 0)

    def fill_disk(self) -> None:
        """Stop its files from growing: the next write fails, and Valkey ends rather than acknowledge it."""
        largest = max((path.stat().st_size for path in self.server.files.rglob("*.aof")), default=0)
        _, hard = resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE, (largest + BYTES_LEFT_ON_DISK, hard))


class Postgres:
    """The database's server."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server

    async def connect(self) -> asyncpg.Connection:
        """A connection that uses no proxy."""
        return await asyncpg.connect(self.server.url(), timeout=STOP_DEADLINE_SECONDS)

    async def quit(self) -> None:
        """End at once, as `pg_ctl stop -m immediate` does: the next start recovers from the log.

        Its main process is left to end by itself: it kills children that the signal left hanging, after five seconds.
        """
        self.server.signal(signal.SIGQUIT)
        with suppress(TimeoutError):
            await asyncio.to_thread(self.server.wait, STOP_DEADLINE_SECONDS)
        await kill(self.server)

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[bool]:
        """Use every connection up during the block."""
        crowd: list[asyncpg.Connection] = []
        try:
            while len(crowd) < CROWD_MAX:
                crowd += [await self.connect()]
        except (OSError, TimeoutError, asyncpg.PostgresError):
            # It is full, or gone.
            pass
        try:
            yield True
        finally:
            for connection in crowd:
                connection.terminate()
