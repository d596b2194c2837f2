"""The tests' PostgreSQL: migrated once into a template, from which each process gets a copy."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from migrations.upgrade import migrate
from ops.embedded.postgres import ROLE, EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATE = ROLE
"""The database that every new folder has."""


class Cluster:
    """A running PostgreSQL, by the URL of a database that nobody uses."""

    def __init__(self, admin_url: str, server: EmbeddedPostgres | None = None, folder: Path | None = None) -> None:
        self.admin_url = admin_url
        self._server = server
        self._folder = folder

    @classmethod
    def start(cls) -> Cluster:
        """Start a server on a new folder and migrate its template."""
        folder = Path(tempfile.mkdtemp(prefix="onsale-test-"))
        server = EmbeddedPostgres(folder, durable=False)
        server.start()
        try:
            migrate(server.url(TEMPLATE))
        except BaseException:
            server.kill()
            raise
        return cls(server.url("postgres"), server, folder)

    def stop(self) -> None:
        """End the server and remove its folder; nobody needs what is in it."""
        if self._server and self._folder:
            self._server.kill()
            shutil.rmtree(self._folder)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a migrated database, dropped at the end."""
        name = f"test_{secrets.token_hex(6)}"
        asyncio.run(self._run(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}"))
        try:
            yield self.admin_url.replace("/postgres?", f"/{name}?")
        finally:
            asyncio.run(self._run(f"DROP DATABASE {name} WITH (FORCE)"))

    async def _run(self, statement: str) -> None:
        connection = await asyncpg.connect(self.admin_url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()
