"""One side of a comparison: a build's own `onsale up`, seen from outside.

Nothing of the build is imported here: its servers, processes and settings are as its own command starts them, and it
is asked over HTTP, by `/metrics` and by SQL.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from uuid import UUID

import asyncpg
import httpx
import psutil
from redis import Redis

from loadtests.bench.against.build import environment
from loadtests.bench.machine import cpu_seconds
from loadtests.sales.stack import StackFailed
from ops.evidence.bulk import PASSWORD, Minted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from domain.accounts.accounts import Role
    from loadtests.bench.against.build import Build
    from loadtests.bench.machine import Cores

READY_SECONDS_MAX = 240.0
DRAINED_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 30.0
MINT_SECONDS_MAX = 300.0
LOOK_SECONDS = 0.05
LOG_LINES_SHOWN = 20

SETTINGS = {"ACCESS_TOKEN_SECONDS": str(6 * 3600), "LIMIT_EVENT_CREATE": "999999/min"}
"""No token ends in the middle of a run, and events are made as they are needed; every other setting is the default."""

UNPERSISTED = re.compile(r"^onsale_unpersisted_bookings\{.*\} (\S+)$", re.MULTILINE)

SCRIPT = Path(__file__).parent / "minting_script.py"

MODULES = {"api": "api", "worker": "worker"}
"""The module on the command line of each part that is Python."""

SERVERS = {"valkey-server": "valkey", "postgres": "postgres"}
"""Parts by the name of their process."""


class Served:
    """The API of a side."""

    def __init__(self, url: str, pid: int) -> None:
        self.url = url
        self.pid = pid


class Side:
    """A running build. `api` is set while it runs."""

    api: Served

    def __init__(self, build: Build, folder: Path, *, cores: Cores, more: Mapping[str, str] | None = None) -> None:
        """Describe it; its data are in `folder`, `more` are settings."""
        self.build = build
        self.folder = folder
        self.cores = cores
        self.port = _free_port()
        self._log = folder / "up.log"
        self._more = dict(more or {})
        self._parts: dict[str, list[psutil.Process]] = {}
        self._environment: dict[str, str] = {}

    @property
    def url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it; returns when it is ready and has its demo data.

        Raises:
            StackFailed: it ended, or took too long.
        """
        own = {"DATA_DIR": str(self.folder / "data"), "HOST": "127.0.0.1", "PORT": str(self.port)}
        with self._log.open("wb") as log:
            self._up = subprocess.Popen(
                [self.build.onsale, "up", "--end-with-parent"],
                cwd=self.build.tree,
                env=environment() | SETTINGS | self._more | own,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._wait_until(self._ready, what=f"{self.build.label} is not ready", seconds=READY_SECONDS_MAX)
            self._know_its_parts()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.resume()
        self._stop()

    def mint(self, *, role: Role, count: int) -> list[Minted]:
        """Accounts of its own that are signed in; raises StackFailed."""
        done = subprocess.run(
            [self.build.python, SCRIPT, role.value, str(count)],
            cwd=self.build.tree,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=MINT_SECONDS_MAX,
        )
        if done.returncode:
            message = f"{self.build.label} makes no accounts: {done.stderr}"
            raise StackFailed(message)
        return [
            Minted(id=UUID(account_id), email=email, password=PASSWORD, token=token)
            for account_id, email, token in json.loads(done.stdout)
        ]

    def redis(self) -> Redis:
        """A client of the inventory's server."""
        return Redis.from_url(self._environment["REDIS_URL"])

    def fetch(self, statement: str, *arguments: object, database: str | None = None) -> list[asyncpg.Record]:
        """Ask PostgreSQL; a side has no second `database`."""
        if database:
            message = "a side has one database"
            raise ValueError(message)
        return asyncio.run(_fetch(self._environment["DATABASE_URL"], statement, arguments))

    def unpersisted(self, _: Redis | None = None) -> int:
        """Accepted changes of bookings that are not yet in PostgreSQL, as `/metrics` tells."""
        text = httpx.get(f"{self.url}/metrics", timeout=READY_SECONDS_MAX).raise_for_status().text
        return round(sum(map(float, UNPERSISTED.findall(text))))

    def wait_until_drained(self) -> None:
        """Return when nothing is unpersisted; raises StackFailed when that takes too long."""
        self._wait_until(lambda: not self.unpersisted(), what="bookings are unpersisted", seconds=DRAINED_SECONDS_MAX)

    def still_workers(self) -> None:
        """Let the workers stand still, once nothing is under way."""
        self.wait_until_drained()
        self._signal("worker", signal.SIGSTOP)

    def wake_workers(self) -> None:
        """Let them go on."""
        self._signal("worker", signal.SIGCONT)

    def pause(self) -> None:
        """Let everything that looks around by itself stand still, while the other side is measured."""
        self.still_workers()
        self._signal("api", signal.SIGSTOP)

    def resume(self) -> None:
        """Let everything go on."""
        self._signal("api", signal.SIGCONT)
        self._signal("worker", signal.SIGCONT)

    def cpu_seconds(self) -> dict[str, float]:
        """What each part has used since it was started, its children included."""
        return {part: sum(cpu_seconds(each.pid) for each in found) for part, found in self._parts.items()}

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory of the API, the workers and Valkey; PostgreSQL's processes share theirs."""
        return {part: sum(each.memory_info().rss for each in self._parts[part]) for part in ("api", "worker", "valkey")}

    def _signal(self, part: str, number: signal.Signals) -> None:
        for each in self._parts.get(part, []):
            each.send_signal(number)

    def _know_its_parts(self) -> None:
        """Find its processes among the children of its supervisor, and the environment they were given."""
        for child in psutil.Process(self._up.pid).children():
            if part := _part(child):
                self._parts.setdefault(part, []).append(child)
        if missing := {*MODULES.values(), *SERVERS.values()} - self._parts.keys():
            message = f"{self.build.label} runs no {', '.join(sorted(missing))}"
            raise StackFailed(message)
        api = self._parts["api"][0]
        self._environment = api.environ()
        self.api = Served(self.url, api.pid)

    def _ready(self) -> bool:
        return "ready after" in self._log.read_text(errors="replace")

    def _wait_until(self, is_so: Callable[[], bool], *, what: str, seconds: float) -> None:
        deadline_s = time.monotonic() + seconds
        while not is_so():
            if self._up.poll() is not None or time.monotonic() > deadline_s:
                lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
                raise StackFailed("\n".join([what, *lines]))
            time.sleep(LOOK_SECONDS)

    def _stop(self) -> None:
        if self._up.poll() is not None:
            return
        self._up.send_signal(signal.SIGTERM)
        try:
            self._up.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._up.kill()
            self._up.wait()


def _part(process: psutil.Process) -> str | None:
    """Which part a process of a stack is, None for none."""
    words = process.cmdline()
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return MODULES.get(module) or SERVERS.get(process.name())


async def _fetch(url: str, statement: str, arguments: tuple[object, ...]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
