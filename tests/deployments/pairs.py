"""Two Valkey servers that replicate, behind one address that can be moved between them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis import Redis

from ops.embedded.valkey import INVENTORY_DATABASE, EmbeddedValkey
from ops.supervision.listener import free_port
from tests.waiting import eventually

if TYPE_CHECKING:
    from domain.platform.settings import Settings


class Replicating(EmbeddedValkey):
    """An embedded Valkey that others can replicate: it also listens on a port of this machine."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__(data_dir, durable=False)
        self.port = free_port()

    def command(self) -> list[str | Path]:
        settings = {"port": str(self.port), "bind": "127.0.0.1", "repl-diskless-sync-delay": "0"}
        return [*super().command(), *(word for name, value in settings.items() for word in (f"--{name}", value))]

    def ask(self, *command: Any) -> Any:
        """Run a command on this server, past the address."""
        with Redis(unix_socket_path=str(self.socket_path)) as redis:
            return redis.execute_command(*command)


class Pair:
    """Two servers, and an address that leads to one of them, as a virtual address or a name in DNS does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first, self.second = Replicating(folder / "first"), Replicating(folder / "second")
        self._address = folder / "current.sock"

    @property
    def servers(self) -> tuple[Replicating, Replicating]:
        return self.first, self.second

    def url(self, database: int = INVENTORY_DATABASE) -> str:
        return f"unix://{self._address}?db={database}"

    def lead_to(self, server: Replicating) -> None:
        """Have new connections go to `server`; those that are open stay where they are."""
        beside = self._address.with_suffix(".new")
        beside.symlink_to(server.socket_path)
        beside.replace(self._address)

    async def replicate(self, replica: Replicating, *, of: Replicating) -> None:
        """Make one server the replica of the other, and return when it has the other's data."""
        replica.ask("REPLICAOF", "127.0.0.1", of.port)

        async def synced() -> bool:
            return replica.ask("INFO", "replication")["master_link_status"] == "up"

        await eventually(synced)

    def settings(self, settings: Settings, **more: Any) -> Settings:
        """The settings of processes that sell by this address; the queue is another server's business."""
        return settings.model_copy(update={"redis_url": type(settings.redis_url)(self.url()), **more})


def start_pair() -> Pair:
    """Two servers that run and do not know each other, and the address of the first."""
    pair = Pair(Path(tempfile.mkdtemp(prefix="onsale-pair-")))
    for server in pair.servers:
        server.start()
    pair.lead_to(pair.first)
    return pair


def end_pair(pair: Pair) -> None:
    for server in pair.servers:
        server.kill()
    shutil.rmtree(pair.folder)
