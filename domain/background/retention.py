"""Retention: rows that only tell the past are deleted when their time is over, in bounded batches.

What is kept for ever is the record of sales: accounts, events and bookings.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from msgspec import Struct

from domain.store.postgres import audit_log

if TYPE_CHECKING:
    from domain.engine import Stores

DELETED_ROWS_MAX = 5_000
"""Rows of each table that one call deletes: some tens of milliseconds of PostgreSQL's time."""

ENDED_SESSIONS_KEPT = timedelta(days=1)
"""How long a session that has ended or expired stays.

No token needs it: a session without a row is over. The day is for clocks: one that is wrong by hours must
not delete a session that lives by the others.
"""


class Deleted(Struct, frozen=True):
    """How many rows one call deleted."""

    sessions: int
    audit_entries: int
    repairs: int

    @property
    def total(self) -> int:
        """Rows of all tables."""
        return self.sessions + self.audit_entries + self.repairs


async def delete_expired_once(stores: Stores, *, limit: int = DELETED_ROWS_MAX) -> Deleted:
    """Delete what is past its retention, at most `limit` rows of each table. By PostgreSQL's clock.

    Raises:
        Unavailable: PostgreSQL is away; the next call goes on.
    """
    kept = stores.retention
    return Deleted(
        sessions=await stores.accounts.delete_ended_sessions(kept=ENDED_SESSIONS_KEPT, limit=limit),
        audit_entries=await audit_log.delete_old(stores.engine, kept=kept.audit_log, limit=limit),
        repairs=await stores.books.delete_repairs(kept=kept.repairs, limit=limit),
    )
