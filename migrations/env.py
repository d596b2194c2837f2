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
    from sqlalchemy.ext.asyncio import AsyncConnection

MIGRATION_LOCK = 7_074_691
"""An arbitrary number that names migrations among this database's advisory locks."""


TURN_POLL_S = 0.2
"""The interval at which a run checks whether another run has ended."""


def run(connection: Connection) -> None:
    """Bring the schema up to date, each step in a transaction of its own.

    So a step can leave it to build an index beside writers (CREATE INDEX CONCURRENTLY).
    """
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


async def wait_for_turn(guard: AsyncConnection) -> None:
    """Hold the lock of migrations until the guard's transaction ends, as a run by another process does meanwhile.

    An index that is built beside writers waits for every snapshot that was taken before. So the lock is asked
    for again and again, each time in a new transaction, and never waited for; and the last statement is one
    without a snapshot: what the driver read stays open until the next statement, with the snapshot of it.
    """
    while True:
        held = await guard.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
        if held.scalar():
            await guard.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            return
        await guard.rollback()
        await asyncio.sleep(TURN_POLL_S)


async def main() -> None:
    """Connect, migrate, disconnect."""
    url = make_url(context.config.attributes["database_url"]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as guard, engine.connect() as connection:
            await wait_for_turn(guard)
            await connection.run_sync(run)
    finally:
        await engine.dispose()


asyncio.run(main())
