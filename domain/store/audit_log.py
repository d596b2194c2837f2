"""The audit log: who did what to whom. Only ever added to, in the transaction of the change itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert

from domain.store.schema import audit_log

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy.ext.asyncio import AsyncConnection


async def note(
    connection: AsyncConnection,
    now: datetime,
    *,
    actor_id: UUID,
    action: str,
    target_id: UUID | None = None,
    **detail: object,
) -> None:
    """Add an entry, if the transaction of `connection` is committed. `detail` holds what JSON can, nothing secret."""
    await connection.execute(
        insert(audit_log).values(at=now, actor_id=actor_id, action=action, target_id=target_id, detail=detail)
    )
