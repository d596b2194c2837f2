"""The audit log: who did what to whom, written in the transaction of the change itself and kept for AUDIT_LOG_DAYS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select

from domain.store.postgres.tables import audit_log

if TYPE_CHECKING:
    from datetime import datetime, timedelta
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.store.postgres.database import Database


async def note(
    connection: AsyncConnection,
    now: datetime,
    *,
    actor_id: UUID | None,
    action: str,
    target_id: UUID | None = None,
    **detail: object,
) -> None:
    """Add an entry, if the transaction of `connection` is committed; without an actor, of the command line.

    `detail` holds what JSON can, nothing secret.
    """
    await connection.execute(
        insert(audit_log).values(at=now, actor_id=actor_id, action=action, target_id=target_id, detail=detail)
    )


async def delete_old(database: Database, *, kept: timedelta, limit: int) -> int:
    """Delete entries that are older than `kept`, at most `limit` of them; answers how many.

    Only the `limit` first entries are looked at, as ids grow with time: a call costs the same however long the log is.
    """
    first = select(audit_log.c.id).order_by(audit_log.c.id).limit(limit)
    statement = delete(audit_log).where(audit_log.c.id.in_(first), audit_log.c.at < func.now() - kept)
    async with database.statement() as connection:
        return (await connection.execute(statement)).rowcount
