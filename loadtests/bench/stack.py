"""The stack under a bench: servers as they are by default, and programs that can be started, stopped and stilled."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol, Self

import asyncpg
import httpx
from redis import Redis

from domain.kernel.partitions import PARTITIONS
from domain.platform.settings import Settings
from domain.store.redis.keys import unpersisted_key
from loadtests.bench.machine import Cores, cpu_seconds
from loadtests.sales.stack import StackFailed
from migrations.upgrade import migrate
from ops.embedded.stack import EmbeddedStack
from ops.evidence.bulk import mint
from ops.supervision.launcher import launcher
from ops.supervision.listener import listen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from domain.accounts.accounts import Role
    from ops.embedded.server import EmbeddedServer
    from ops.evidence.bulk import Minted

BASELINE_DATABASE = "baseline"
"""The baseline's own database, on the same server."""

READY_SECONDS_MAX = 240.0
"""With a million bookings the inventory is rebuilt for some seconds, on a busy machine for more, before it sells."""

DRAINED_SECONDS_MAX = 120.0
"""A backlog of 100,000 bookings takes half of it."""

STOP_SECONDS_MAX = 15.0
LOOK_SECONDS = 0.02

TOKEN_SECONDS = 6 * 3600
"""No token ends in the middle of a bench."""

LOG_LINES_SHOWN = 20


class Served(Protocol):
    """A process that answers requests."""

    @property
    def url(self) -> str:
        """Where it listens."""

    @property
    def pid(self) -> int:
        """Its process."""


class Measurable(Protocol):
    """What cases need of a stack, whichever build runs it."""

    folder: Path
    cores: Cores

    @property
    def api(self) -> Served:
        """The API, by its first process."""

    def mint(self, *, role: Role, count: int) -> list[Minted]:
        """Accounts that are signed in."""

    def redis(self) -> Redis:
        """A client of the inventory's server."""

    def fetch(self, statement: str, *arguments: object, database: str | None = None) -> list[asyncpg.Record]:
        """Ask PostgreSQL."""

    def unpersisted(self, redis: Redis) -> int:
        """Accepted bookings that are not yet in PostgreSQL."""

    def wait_until_drained(self) -> None:
        """Return when nothing is unpersisted."""

    def still_workers(self) -> None:
        """Let the workers stand still, once nothing is under way."""

    def wake_workers(self) -> None:
        """Let them go on."""

    def cpu_seconds(self) -> dict[str, float]:
        """What each part has used since it was started."""


class Program:
    """One process under load; `url` is where it listens, if it does."""

    def __init__(self, module: str, environment: Mapping[str, str], *, cores: frozenset[int], log: Path) -> None:
        self.module = module
        self._environment = {**environment}
        self._cores = cores
        self._log = log
        self._listener = listen("127.0.0.1", 0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def listening_fd(self) -> int:
        """Its socket, bound before it starts: who connects before it listens waits."""
        return self._listener.fileno()

    @property
    def pid(self) -> int:
        """Its process; raises StackFailed before it was started."""
        if self._process is None:
            message = f"{self.module} was not started"
            raise StackFailed(message)
        return self._process.pid

    def start(self, *, share: Program | None = None) -> None:
        """Start it; with `share` on the other one's socket."""
        fd = share.listening_fd if share else self.listening_fd
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                launcher([sys.executable, "-m", self.module], death_signal=signal.SIGKILL),
                env={**self._environment, "LISTEN_FD": str(fd)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[fd],
                start_new_session=True,
            )
        os.sched_setaffinity(self._process.pid, self._cores)

    def stop(self) -> None:
        """End it in good order, or by force when it takes too long."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def discard(self) -> None:
        """End it, and give its socket up."""
        self.stop()
        self._listener.close()

    def still(self) -> None:
        """Stop it where it is."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        """Let it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def wait_until(self, ready: Callable[[], bool], *, what: str) -> None:
        """Return when `ready` says so; raises StackFailed with its last words."""
        deadline_s = time.monotonic() + READY_SECONDS_MAX
        while not ready():
            if (self._process and self._process.poll() is not None) or time.monotonic() > deadline_s:
                lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
                raise StackFailed("\n".join([f"{what} is not ready", *lines]))
            time.sleep(LOOK_SECONDS)

    def wait_until_it_answers(self, path: str) -> None:
        """Return when it answers a request with anything but a fault of its own."""
        self.wait_until(lambda: _answers(f"{self.url}{path}"), what=self.module)


class Stack:
    """PostgreSQL and Valkey with every write synced, API processes with every limit on, workers."""

    def __init__(  # noqa: PLR0913  (all that stacks differ in)
        self,
        folder: Path,
        *,
        cores: Cores,
        api_processes: int = 1,
        workers: int = 1,
        more: Mapping[str, str] | None = None,
        furnish: Callable[[Settings], None] | None = None,
    ) -> None:
        """Describe it; `furnish` writes to the database before anything sells, `more` are settings."""
        self.folder = folder
        self.cores = cores
        self._embedded = EmbeddedStack(folder / "data")
        self._exits = ExitStack()
        self._more = dict(more or {})
        self._counts = api_processes, workers
        self._furnish = furnish
        self.apis: list[Program] = []
        self.workers: list[Program] = []

    def __enter__(self) -> Self:
        """Start it; returns when it sells.

        Raises:
            StackFailed: it does not.
            ServerFailed, BinaryMissing, FolderRefused: as the embedded servers' start.
        """
        with self._exits:
            mine = os.sched_getaffinity(0)
            self._exits.callback(os.sched_setaffinity, 0, mine)
            os.sched_setaffinity(0, self.cores.others)
            self._embedded.start()
            self._exits.callback(self._embedded.stop)
            migrate(self._embedded.postgres.url())
            if self._furnish:
                self._furnish(self.settings())
            self._start()
            self._exits = self._exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything that was started."""
        self._exits.close()

    def settings(self) -> Settings:
        """The settings that lead to its servers."""
        values = {name.lower(): value for name, value in self._embedded.environment().items()}
        return Settings.model_validate(values | {"access_token_seconds": TOKEN_SECONDS})

    def mint(self, *, role: Role, count: int) -> list[Minted]:
        """Accounts that are signed in."""
        return asyncio.run(mint(self.settings(), role=role, count=count))

    def program(self, module: str, *, pinned: bool) -> Program:
        """A program with the stack's environment, ended with the stack; it is not started."""
        log = self.folder / f"{module}.log"
        cores = self.cores.program if pinned else self.cores.others
        program = Program(module, self._environment(), cores=cores, log=log)
        self._exits.callback(program.discard)
        return program

    @property
    def api(self) -> Program:
        """The API, by its first process."""
        return self.apis[0]

    def redis(self) -> Redis:
        """A client of the inventory's server."""
        return Redis.from_url(self._embedded.environment()["REDIS_URL"])

    def database_url(self, database: str | None = None) -> str:
        """Where a database of PostgreSQL's is, the engine's own without a name."""
        postgres = self._embedded.postgres
        return postgres.url(database) if database else postgres.url()

    def fetch(self, statement: str, *arguments: object, database: str | None = None) -> list[asyncpg.Record]:
        """Ask PostgreSQL."""
        return asyncio.run(_fetch(self.database_url(database), statement, arguments))

    def make_database(self, name: str) -> None:
        """Make one more database on the server."""
        self.fetch(f"CREATE DATABASE {name}")

    @staticmethod
    def unpersisted(redis: Redis) -> int:
        """Accepted bookings that are not yet in PostgreSQL."""
        with redis.pipeline(transaction=False) as pipeline:
            for partition in range(PARTITIONS):
                pipeline.zcard(unpersisted_key(partition))
            return sum(map(int, pipeline.execute()))

    def wait_until_drained(self) -> None:
        """Return when nothing is unpersisted; raises StackFailed when that takes too long."""
        deadline_s = time.monotonic() + DRAINED_SECONDS_MAX
        with self.redis() as redis:
            while left := self.unpersisted(redis):
                if time.monotonic() > deadline_s:
                    message = f"{left} bookings are unpersisted after {DRAINED_SECONDS_MAX:.0f} s"
                    raise StackFailed(message)
                time.sleep(LOOK_SECONDS)

    def pause(self) -> None:
        """Let everything that looks around by itself stand still, while another stack is measured."""
        self.still_workers()
        for api in self.apis:
            api.still()

    def resume(self) -> None:
        """Let everything go on."""
        for program in (*self.apis, *self.workers):
            program.wake()

    def still_workers(self) -> None:
        """Let the workers stand still, once nothing is under way."""
        self.wait_until_drained()
        for worker in self.workers:
            worker.still()

    def wake_workers(self) -> None:
        """Let them go on."""
        for worker in self.workers:
            worker.wake()

    def cpu_seconds(self) -> dict[str, float]:
        """What each part has used since it was started."""
        return {
            "api": sum(cpu_seconds(program.pid) for program in self.apis),
            "valkey": cpu_seconds(_pid(self._embedded.valkey)),
            "worker": sum(cpu_seconds(program.pid) for program in self.workers),
            "postgres": cpu_seconds(_pid(self._embedded.postgres)),
        }

    def _start(self) -> None:
        api_processes, workers = self._counts
        self.workers = [self.program("worker", pinned=False) for _ in range(workers)]
        for worker in self.workers:
            worker.start()
        self.apis = [self.program("api", pinned=True) for _ in range(api_processes)]
        for api in self.apis:
            api.start(share=self.apis[0])
        self.api.wait_until_it_answers("/health/ready")

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        baseline = self.database_url(BASELINE_DATABASE).replace("postgresql://", "postgresql+asyncpg://")
        own = {"ACCESS_TOKEN_SECONDS": str(TOKEN_SECONDS), "BASELINE_URL": baseline, "PYTHONUNBUFFERED": "1"}
        return kept | self._embedded.environment() | own | self._more


def _pid(server: EmbeddedServer) -> int:
    return int(server.pid)


def _answers(url: str) -> bool:
    try:
        return not httpx.get(url, timeout=READY_SECONDS_MAX).is_server_error
    except httpx.TransportError:
        return False


async def _fetch(url: str, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()
