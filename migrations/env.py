"""Runs migrations on the database the caller names in `config.attributes["database_url"]`.

Two runs at once are safe: the second waits for the first and finds nothing left to do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

if TYPE_CHECKING:
    from sqlalchemy import Connection

MIGRATION_LOCK = 7_074_691
"""An arbitrary number that names migrations among this database's advisory locks."""


def run(connection: Connection) -> None:
    """Bring the schema up to date in one transaction."""
    context.configure(connection=connection, transaction_per_migration=False)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        context.run_migrations()


async def main() -> None:
    """Connect once, migrate, disconnect."""
    url = make_url(context.config.attributes["database_url"]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(run)
    finally:
        await engine.dispose()


asyncio.run(main())
