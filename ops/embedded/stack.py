"""The embedded servers of one data folder, PostgreSQL and Valkey, and the secret that signs their tokens."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Self

from ops.embedded.folders import folders_of, make_data_folder
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.private_files import keep_once
from ops.embedded.valkey import INVENTORY_DATABASE, QUEUE_DATABASE, EmbeddedValkey
from ops.supervision.program import short_pause

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JWT_SECRET_BYTES = 32
"""The length of the hash of HS256."""

KEYS_FILE = "keys.json"
"""Name of the key ring in the data folder; it exists after the first rotation."""


class EmbeddedStack:
    """The servers of `data_dir` and the environment of a process that uses them.

    As a context manager, the servers run during the block.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, only: str | None = None) -> None:
        """Describe the stack in `data_dir`; nothing is started or written yet. `only` names the one server to run."""
        self.folders = folders_of(data_dir)
        self.postgres = EmbeddedPostgres(data_dir, durable=durable)
        self.valkey = EmbeddedValkey(data_dir, durable=durable)
        self.servers = [server for server in (self.postgres, self.valkey) if only in {None, server.name}]

    def __enter__(self) -> Self:
        """Start the servers."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the servers."""
        self.stop()

    def start(self) -> None:
        """Start the servers and return when each answers.

        Raises:
            ServerFailed, BinaryMissing, FolderRefused: as one server's start; then no server is left running.
        """
        try:
            self.spawn()
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def spawn(self) -> None:
        """Start the servers without waiting for them."""
        # Valkey first: it reads its file while PostgreSQL makes its cluster.
        for server in reversed(self.servers):
            server.spawn()

    def wait_until_ready(self, *, pause: Callable[[], None] = short_pause) -> None:
        """Return when each server answers; raises ServerFailed."""
        for server in self.servers:
            server.wait_until(server.ready, pause=pause)

    def stop(self) -> None:
        """Stop the servers in good order."""
        for server in self.servers:
            server.stop()

    def environment(self) -> dict[str, str]:
        """Return the settings of a process that uses these servers; the first call makes the secret."""
        make_data_folder(self.folders.data)
        kept = keep_once(
            self.folders.data / "secrets.json", lambda: {"jwt_secret": secrets.token_hex(JWT_SECRET_BYTES)}
        )
        return {
            "DATABASE_URL": self.postgres.url(),
            "REDIS_URL": self.valkey.url(INVENTORY_DATABASE),
            "QUEUE_URL": self.valkey.url(QUEUE_DATABASE),
            "JWT_SECRET": kept["jwt_secret"],
            "JWT_KEYS_FILE": str(self.folders.data / KEYS_FILE),
        }
