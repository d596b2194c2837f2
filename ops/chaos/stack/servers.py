"""Valkey and PostgreSQL as a trial breaks them. Each is started from the main thread, and killed by its pid."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ops.embedded.server import START_DEADLINE_SECONDS, STOP_DEADLINE_SECONDS, ServerFailed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ops.embedded.postgres import EmbeddedPostgres
    from ops.embedded.server import EmbeddedServer
    from ops.embedded.valkey import EmbeddedValkey

LOOK_SECONDS = 0.01

BYTES_LEFT_ON_DISK = 64
"""Of a full disk: the next record is written in part, as it would be."""

MEMORY_BYTES_TINY = 1
"""Less than Valkey uses: every write is refused."""

COPY_SECONDS = 2.0
"""How often the append-only file is copied, to come back with later."""

CROWD_MAX = 120
"""More connections than PostgreSQL takes."""


async def wait_until_ready(server: EmbeddedServer) -> None:
    """Return when it answers.

    Raises:
        ServerFailed: it ended, or does not answer in time.
    """
    deadline = asyncio.get_running_loop().time() + START_DEADLINE_SECONDS
    while not await asyncio.to_thread(server.ready):
        server.check_alive()
        if asyncio.get_running_loop().time() > deadline:
            message = f"{server.name} is not back after {START_DEADLINE_SECONDS:.0f} s; {server.log_tail()}"
            raise ServerFailed(message)
        await asyncio.sleep(LOOK_SECONDS)


async def start(server: EmbeddedServer) -> None:
    """Start it and return when it answers."""
    server.spawn()
    await wait_until_ready(server)


async def kill(server: EmbeddedServer) -> None:
    """Kill it as `kill -9` does; its children are gone when this returns."""
    await asyncio.to_thread(server.kill)


def family(pid: int) -> list[int]:
    """A server's main process and its children, whose parent it is."""
    children = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                children.append(int(stat.parent.name))
    return [pid, *children]


@asynccontextmanager
async def stopped(server: EmbeddedServer) -> AsyncIterator[bool]:
    """Stand it still during the block: it is there, and does not answer."""
    # The main process first: it then makes no more children.
    _signal([server.pid], signal.SIGSTOP)
    _signal(family(server.pid), signal.SIGSTOP)
    try:
        yield True
    finally:
        _signal(family(server.pid), signal.SIGCONT)


def _signal(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


class Valkey:
    """The inventory's and the queue's server."""

    def __init__(self, server: EmbeddedValkey, copies: Path) -> None:
        self.server = server
        self._copies = copies
        self._newest = 0

    def connect(self) -> Redis:
        """A client that passes by every proxy."""
        return Redis(unix_socket_path=str(self.server.socket_path), socket_timeout=STOP_DEADLINE_SECONDS)

    async def keep_copies(self) -> None:
        """Copy the append-only file now and then, until cancelled; the last copy but one is what is stale."""
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
        """Forget everything, keep running: the script cache survives."""
        async with self.connect() as redis:
            await redis.flushall()

    def empty(self) -> None:
        """Lose the disk; only while it is not running."""
        shutil.rmtree(self.server.files)

    def go_back(self) -> None:
        """Have the disk of some seconds ago; only while it is not running. Without a copy: an empty one."""
        self.empty()
        for number in (self._newest - 1, self._newest):
            copy = self._copies / str(number)
            if copy.exists():
                shutil.copytree(copy, self.server.files)
                return

    @asynccontextmanager
    async def full(self) -> AsyncIterator[bool]:
        """Have no memory left during the block: writes are refused, reads are answered."""
        async with self.connect() as redis:
            await redis.config_set("maxmemory", MEMORY_BYTES_TINY)
        try:
            yield True
        finally:
            with suppress(RedisError, OSError):
                async with self.connect() as redis:
                    await redis.config_set("maxmemory", 0)

    def fill_disk(self) -> None:
        """Let its files grow no more: the next write fails, and Valkey ends rather than acknowledge it."""
        largest = max((path.stat().st_size for path in self.server.files.rglob("*.aof")), default=0)
        _, hard = resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self.server.pid, resource.RLIMIT_FSIZE, (largest + BYTES_LEFT_ON_DISK, hard))


class Postgres:
    """The database's server."""

    def __init__(self, server: EmbeddedPostgres) -> None:
        self.server = server

    async def connect(self) -> asyncpg.Connection:
        """A connection that passes by every proxy."""
        return await asyncpg.connect(self.server.url(), timeout=STOP_DEADLINE_SECONDS)

    async def quit(self) -> None:
        """End at once, as `pg_ctl stop -m immediate` does: the next start recovers from the log.

        Its main process is left to end by itself: it kills children that the signal left hanging, after five seconds.
        """
        os.kill(self.server.pid, signal.SIGQUIT)
        for _ in range(round(STOP_DEADLINE_SECONDS / LOOK_SECONDS)):
            if self.server.poll() is not None:
                break
            await asyncio.sleep(LOOK_SECONDS)
        await asyncio.to_thread(self.server.kill)

    @asynccontextmanager
    async def crowded(self) -> AsyncIterator[bool]:
        """Have no connection left during the block."""
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
