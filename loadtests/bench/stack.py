"""The stack under a bench: `onsale up` with every write synced and every limit on, and programs beside it."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple, Self

import asyncpg
import httpx
import psutil
from redis import Redis

from domain.kernel.partitions import PARTITIONS
from domain.store.redis.keys import unpersisted_key
from ops.embedded.running import RunningStack
from ops.evidence.bulk import mint
from ops.supervision.listener import listen
from ops.supervision.program import ONSALE, Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from domain.accounts.accounts import Role
    from ops.evidence.bulk import Minted

BASELINE_DATABASE = "baseline"
"""The baseline's own database, on the same server."""

ANSWER_SECONDS_MAX = 240.0

DRAINED_SECONDS_MAX = 120.0
"""Twice what a backlog of 100,000 bookings takes."""

SETTINGS = {"ACCESS_TOKEN_SECONDS": str(6 * 3600)}
"""No token expires during a bench."""


class Served(NamedTuple):
    """A process that answers requests at a URL."""

    url: str
    pid: int


class BenchStack(RunningStack):
    """A running stack with what cases need of it: accounts, queries, CPU times, and processes that can be paused."""

    api: Served

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        onsale: Sequence[str | Path] = ONSALE,
        tree: Path | None = None,
    ) -> None:
        """Describe it; `settings` come on top of a bench's own, `onsale` and `tree` are those of a build."""
        super().__init__(folder, settings=SETTINGS | dict(settings or {}), onsale=onsale, tree=tree)
        self._beside = ExitStack()
        self._found: dict[str, list[psutil.Process]] = {}
        self.variables: dict[str, str] = {}
        """The environment that the API was given."""

    def __enter__(self) -> Self:
        """Start it; returns when it sells."""
        super().__enter__()
        try:
            self._found = self.parts()
            api = self._found["api"][0]
            self.variables = api.environ()
            self.api = Served(self.url, api.pid)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it and every program beside it."""
        self._beside.close()
        self.resume()
        self.stop()

    def mint(self, *, role: Role, count: int) -> list[Minted]:
        """Accounts that are signed in."""
        return asyncio.run(mint(self.settings(), role=role, count=count))

    def peer(self, name: str) -> Served:
        """A program to compare the API with: it has the stack's environment, and runs until the stack ends.

        Returns when it answers a request with anything but a server error.
        """
        module = f"loadtests.bench.peers.{name}"
        listener = self._beside.enter_context(listen("127.0.0.1", 0))
        url, fd = f"http://127.0.0.1:{listener.getsockname()[1]}", listener.fileno()
        baseline = self.database_url(BASELINE_DATABASE).replace("postgresql://", "postgresql+asyncpg://")
        variables = self.variables | {"BASELINE_URL": baseline, "LISTEN_FD": str(fd)}
        command = [sys.executable, "-m", module]
        program = Program(module, command, variables, log=self.folder / f"{module}.log", pass_fds=[fd])
        self._beside.enter_context(program)
        program.wait_until(lambda: _answers(url))
        return Served(url, program.pid)

    def redis(self) -> Redis:
        """A client of the inventory's server."""
        return Redis.from_url(self.variables["REDIS_URL"])

    def database_url(self, database: str | None = None) -> str:
        """Where a database is on the stack's PostgreSQL; without a name, the engine's own."""
        url = self.variables["DATABASE_URL"]
        return url.replace("/onsale?", f"/{database}?") if database else url

    def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Query PostgreSQL."""
        return asyncio.run(self._fetch(statement, arguments))

    def unpersisted(self, redis: Redis) -> int:
        """Accepted bookings that are not yet in PostgreSQL."""
        with redis.pipeline(transaction=False) as pipeline:
            for partition in range(PARTITIONS):
                pipeline.zcard(unpersisted_key(partition))
            return sum(map(int, pipeline.execute()))

    def wait_until_drained(self) -> None:
        """Return when nothing is unpersisted; raises ProcessFailed when that takes too long."""
        with self.redis() as redis:
            self.wait_until(lambda: not self.unpersisted(redis), what="drained", seconds=DRAINED_SECONDS_MAX)

    def pause_workers(self) -> None:
        """Stop the workers with SIGSTOP once nothing is unpersisted."""
        self.wait_until_drained()
        self._signal("worker", signal.SIGSTOP)

    def resume_workers(self) -> None:
        """Let the workers go on."""
        self._signal("worker", signal.SIGCONT)

    def pause(self) -> None:
        """Pause API and workers while another stack is measured."""
        self.pause_workers()
        self._signal("api", signal.SIGSTOP)

    def resume(self) -> None:
        """Let API and workers go on."""
        self._signal("api", signal.SIGCONT)
        self.resume_workers()

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time of each part since its start, its children included."""
        return {part: sum(cpu_seconds(each.pid) for each in found) for part, found in self._found.items()}

    async def _fetch(self, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
        # Not by `settings`: another build may keep its servers elsewhere in its folder.
        connection = await asyncpg.connect(self.database_url())
        try:
            return list(await connection.fetch(statement, *arguments))
        finally:
            await connection.close()

    def _signal(self, part: str, number: signal.Signals) -> None:
        for process in self._found.get(part, []):
            process.send_signal(number)


def _answers(url: str) -> bool:
    try:
        return not httpx.get(url, timeout=ANSWER_SECONDS_MAX).is_server_error
    except httpx.TransportError:
        return False


def cpu_seconds(root: int) -> float:
    """CPU time of a process and of everything it started, children that have ended included."""
    family = [psutil.Process(root)]
    family += family[0].children(recursive=True)
    total = 0.0
    for process in family:
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total
