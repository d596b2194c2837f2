"""The audit log: who did what to whom.

Entries are written in the transaction of the change and kept for AUDIT_LOG_DAYS.
"""

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
    """Add an entry in the transaction of `connection`; `actor_id` None stands for the command line.

    `detail` must be valid JSON without secrets.
    """
    await connection.execute(
        insert(audit_log).values(at=now, actor_id=actor_id, action=action, target_id=target_id, detail=detail)
    )


async def delete_old(database: Database, *, kept: timedelta, limit: int) -> int:
    """Delete entries that are older than `kept`, at most `limit` of them; returns how many.

    Only the first `limit` entries are examined, because ids grow with time. So the cost of a call does not depend on
    the size of the log.
    """
    first = select(audit_log.c.id).order_by(audit_log.c.id).limit(limit)
    statement = delete(audit_log).where(audit_log.c.id.in_(first), audit_log.c.at < func.now() - kept)
    async with database.statement() as connection:
        return (await connection.execute(statement)).rowcount
