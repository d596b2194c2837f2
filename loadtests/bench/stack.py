"""The stack under a bench: `onsale up` with every write synced and every limit on, and programs beside it."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

import asyncpg
import httpx
from redis import Redis

from domain.kernel.partitions import PARTITIONS
from domain.store.redis.keys import unpersisted_key
from loadtests.bench.machine import cpu_seconds
from ops.embedded.running import ONSALE, RunningStack
from ops.evidence.bulk import mint
from ops.supervision.listener import listen
from ops.supervision.program import Program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import psutil

    from domain.accounts.accounts import Role
    from ops.evidence.bulk import Minted

BASELINE_DATABASE = "baseline"
"""The baseline's own database, on the same server."""

ANSWER_SECONDS_MAX = 240.0

DRAINED_SECONDS_MAX = 120.0
"""Twice what a backlog of 100,000 bookings takes."""

SETTINGS = {"ACCESS_TOKEN_SECONDS": str(6 * 3600)}
"""No token expires during a bench."""


class Served(Protocol):
    """A process that answers requests."""

    @property
    def url(self) -> str:
        """Where it listens."""

    @property
    def pid(self) -> int:
        """Its process."""


class Peer(Program):
    """A program to compare the API with. It listens on a socket that is bound before it starts."""

    def __init__(self, module: str, environment: Mapping[str, str], *, log: Path) -> None:
        self._listener = listen("127.0.0.1", 0)
        fd = self._listener.fileno()
        command, variables = [sys.executable, "-m", module], {**environment, "LISTEN_FD": str(fd)}
        super().__init__(module, command, variables, log=log, pass_fds=[fd])

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start it; returns when it answers a request with anything but a server error."""
        super().__enter__()
        self.wait_until(lambda: _answers(self.url))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it and close its socket."""
        self.stop()
        self._listener.close()


class _Api:
    """The API of a stack, by its first process."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid


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
            self.api = _Api(self.url, api.pid)
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

    def peer(self, name: str) -> Peer:
        """A peer that runs until the stack ends, with the stack's environment."""
        module = f"loadtests.bench.peers.{name}"
        baseline = self.database_url(BASELINE_DATABASE).replace("postgresql://", "postgresql+asyncpg://")
        environment = self.variables | {"BASELINE_URL": baseline}
        return self._beside.enter_context(Peer(module, environment, log=self.folder / f"{module}.log"))

    def redis(self) -> Redis:
        """A client of the inventory's server."""
        return Redis.from_url(self.variables["REDIS_URL"])

    def database_url(self, database: str | None = None) -> str:
        """Where a database is on the stack's PostgreSQL; without a name, the engine's own."""
        url = self.variables["DATABASE_URL"]
        return url.replace("/onsale?", f"/{database}?") if database else url

    def fetch(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Query PostgreSQL."""
        return asyncio.run(_fetch(self.database_url(), statement, arguments))

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

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory of the API, the workers and Valkey; PostgreSQL's processes share theirs."""
        found = self._found
        return {part: sum(each.memory_info().rss for each in found[part]) for part in ("api", "worker", "valkey")}

    def _signal(self, part: str, number: signal.Signals) -> None:
        for process in self._found.get(part, []):
            process.send_signal(number)


def _answers(url: str) -> bool:
    try:
        return not httpx.get(url, timeout=ANSWER_SECONDS_MAX).is_server_error
    except httpx.TransportError:
        return False


async def _fetch(url: str, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()
