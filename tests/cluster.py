"""The tests' PostgreSQL: migrated once into a template, from which each process gets a copy."""

from __future__ import annotations

import asyncio
import secrets
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import asyncpg

from migrations.upgrade import migrate
from ops.embedded.postgres import ROLE
from tests.throwaway import throwaway_servers

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATE = ROLE
"""The database that every new folder has."""


class Cluster:
    """A running PostgreSQL, by the URL of a database that nobody uses."""

    def __init__(self, admin_url: str) -> None:
        self.admin_url = admin_url
        self._exits = ExitStack()

    @classmethod
    def start(cls) -> Cluster:
        """Start a server on a new folder and migrate its template."""
        with ExitStack() as exits:
            server = exits.enter_context(throwaway_servers("postgres")).postgres
            migrate(server.url(TEMPLATE))
            cluster = cls(server.url("postgres"))
            cluster._exits = exits.pop_all()
        return cluster

    def stop(self) -> None:
        """End the server, if this process started it, and remove its folder."""
        self._exits.close()

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
