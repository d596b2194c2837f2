"""The stack of one trial: its own servers, two APIs and two workers, and a network between them that can be broken."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import msgspec

from domain.platform.settings import Settings
from migrations.upgrade import migrate
from ops.chaos.holds.files import FOLDER
from ops.chaos.protections import REMOVED_PROTECTIONS
from ops.chaos.schedule import API_NAMES, CLOCK_NAMES, HOLDS_NAME, PROCESS_NAMES, SERVER_NAMES
from ops.chaos.stack.clocks import Clock, clear_shared_memory, library
from ops.chaos.stack.processes import ForkedProcess, ForkServer
from ops.chaos.stack.proxy import Proxy
from ops.chaos.stack.servers import Postgres, Valkey
from ops.embedded.postgres import ROLE
from ops.embedded.stack import EmbeddedStack
from ops.embedded.valkey import INVENTORY_DATABASE, QUEUE_DATABASE
from ops.supervision.listener import free_port
from ops.supervision.program import plain_environment

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from domain.platform.failpoints import Failpoint
    from ops.chaos.protections import Protection

READY_SECONDS_MAX = 60.0
"""A first start makes a database cluster and imports everything once; on a busy machine that takes a while."""

LOOK_SECONDS = 0.02

HOLDS_MODULE = "ops.chaos.holds"

CLOCK_READ_AGAIN_S = 1
"""How late a process notices that its clock was set; reading the file every time would halve the sales of a trial."""


class NotReady(Exception):
    """The stack did not become ready; `str()` has the last output of every process."""


class TrialStack:
    """Servers, links and processes, by their names in the schedule."""

    def __init__(self, folder: Path, *, durability: str) -> None:
        self.folder = folder
        self.durability = durability
        self.hits = folder / "failpoints"
        self._embedded = EmbeddedStack(folder / "data")
        self.valkey = Valkey(self._embedded.valkey, folder / "copies")
        self.postgres = Postgres(self._embedded.postgres)
        names = CLOCK_NAMES if library() else ()
        self.clocks = {name: Clock(folder / f"{name}.clock", read_again_s=CLOCK_READ_AGAIN_S) for name in names}
        """Of each server and process; empty where clocks cannot be set."""
        for server, name in ((self.valkey.server, "redis"), (self.postgres.server, "postgres")):
            server.environment |= self._clock_of(name)
        self.links = {
            f"{process}:{server}": self._link(process, server) for process in PROCESS_NAMES for server in SERVER_NAMES
        }
        self.ports = {name: free_port() for name in API_NAMES}
        self.processes = {name: self._process(name) for name in PROCESS_NAMES}
        self.fork_server = ForkServer(
            list(self.processes.values()), folder / "fork_server.log", environment=self._clock_of(API_NAMES[0])
        )

    @property
    def urls(self) -> list[str]:
        """Where the API processes listen."""
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    def settings(self) -> Settings:
        """The settings that lead to the servers, not through a proxy."""
        environment = {name.lower(): value for name, value in self._embedded.environment().items()}
        return Settings.model_validate(environment | {"durability": self.durability})

    def arm(self, failpoints: Mapping[Failpoint, float], *, off: frozenset[Protection] = frozenset()) -> None:
        """Before a start: have processes kill themselves at failpoints until `disarm`, and take protections away."""
        self.hits.touch()
        for process in self.processes.values():
            process.environment |= {
                "CHAOS": "on",
                "TEST_PAYMENTS": "on",
                "FAILPOINTS": msgspec.json.encode(failpoints).decode(),
                "FAILPOINT_HITS": str(self.hits),
                REMOVED_PROTECTIONS: " ".join(sorted(off)),
            }

    def disarm(self) -> None:
        """Switch every failpoint off."""
        self.hits.rename(self.hits.with_suffix(".done"))

    @asynccontextmanager
    async def servers(self) -> AsyncIterator[None]:
        """Run the servers during the block, with an empty schema and sound links."""
        self._embedded.spawn()
        try:
            await asyncio.to_thread(self._embedded.wait_until_ready)
            await asyncio.to_thread(migrate, self.postgres.server.url())
            for link in self.links.values():
                await link.open()
            copying = asyncio.create_task(self.valkey.keep_copies())
            try:
                yield
            finally:
                copying.cancel()
        finally:
            for link in self.links.values():
                await link.close()
            # Their data is not needed any more.
            for server in self._embedded.servers:
                await asyncio.to_thread(server.kill)
            clear_shared_memory()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the processes during the block.

        Raises:
            NotReady: an API is not ready in time.
        """
        try:
            await self.fork_server.start()
            await self._wait_until_ready()
            yield
        finally:
            await self.fork_server.stop()

    def hits_by_failpoint(self) -> dict[str, int]:
        """How often processes killed themselves at each failpoint."""
        counts: Counter[str] = Counter()
        for path in (self.hits, self.hits.with_suffix(".done")):
            with suppress(FileNotFoundError):
                counts.update(path.read_text().split())
        return dict(counts)

    async def _wait_until_ready(self) -> None:
        deadline = asyncio.get_running_loop().time() + READY_SECONDS_MAX
        async with httpx.AsyncClient(timeout=READY_SECONDS_MAX) as client:
            for url in self.urls:
                while not await _ready(client, url):
                    if asyncio.get_running_loop().time() > deadline:
                        raise NotReady(self._last_words())
                    await asyncio.sleep(LOOK_SECONDS)

    def _last_words(self) -> str:
        logs = [self.folder / f"{name}.log" for name in PROCESS_NAMES] + [self.folder / "fork_server.log"]
        return "\n".join(f"{log.name}: {log.read_text()[-1000:]}" for log in logs if log.exists())

    def _clock_of(self, name: str) -> dict[str, str]:
        return self.clocks[name].variables if name in self.clocks else {}

    def _process(self, name: str) -> ForkedProcess:
        module = HOLDS_MODULE if name == HOLDS_NAME else name.split(".", maxsplit=1)[0]
        environment = (
            plain_environment()
            | self._embedded.environment()
            | {
                "DATABASE_URL": f"postgresql://{ROLE}@/{ROLE}?host={self.links[f'{name}:postgres'].path.parent}",
                "REDIS_URL": f"unix://{self.links[f'{name}:redis'].path}?db={INVENTORY_DATABASE}",
                "QUEUE_URL": f"unix://{self.links[f'{name}:queue'].path}?db={QUEUE_DATABASE}",
                "DURABILITY": self.durability,
                "RATE_LIMITS": "off",
                **self._clock_of(name),
                "SHUTDOWN_DELAY_SECONDS": "1",
                FOLDER: str(self.folder),
            }
        )
        if name in self.ports:
            environment |= {"HOST": "127.0.0.1", "PORT": str(self.ports[name])}
        return ForkedProcess(name, module, environment, self.folder / f"{name}.log")

    def _link(self, process: str, server: str) -> Proxy:
        """A link of one process. PostgreSQL's clients expect a socket of this name in a folder."""
        folder = self.folder / "net" / process
        if server == "postgres":
            return Proxy(folder / ".s.PGSQL.5432", self._embedded.folders.sockets / ".s.PGSQL.5432")
        return Proxy(folder / f"{server}.sock", self._embedded.valkey.socket_path)


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health/ready")).is_success
    except httpx.TransportError:
        return False
