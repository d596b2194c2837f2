"""Retention: deletes old rows of bookkeeping tables in bounded batches.

The records of sales are kept for ever: accounts, events and bookings.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct, structs

from domain.store.postgres import audit_log

if TYPE_CHECKING:
    from domain.engine import Stores

log = structlog.get_logger()

DELETED_ROWS_MAX = 5_000
"""Rows of each table that one call deletes: some tens of milliseconds of PostgreSQL's time."""

ENDED_SESSIONS_KEPT = timedelta(days=1)
"""How long the row of a session that has ended or expired is kept.

No token needs the row: a session without a row is over. The day allows for wrong clocks: a clock that is wrong by hours
must not delete a session that is alive by the other clocks.
"""


class Deleted(Struct, frozen=True):
    """The number of rows that one call deleted."""

    sessions: int
    audit_entries: int
    repairs: int

    @property
    def total(self) -> int:
        """The rows of all tables."""
        return self.sessions + self.audit_entries + self.repairs


async def delete_expired_once(stores: Stores, *, limit: int = DELETED_ROWS_MAX) -> Deleted:
    """Delete rows that are past their retention by PostgreSQL's clock, at most `limit` rows of each table.

    Raises:
        Unavailable: PostgreSQL cannot be reached; the next call continues.
    """
    kept = stores.retention
    deleted = Deleted(
        sessions=await stores.sessions.delete_ended(kept=ENDED_SESSIONS_KEPT, limit=limit),
        audit_entries=await audit_log.delete_old(stores.database, kept=kept.audit_log, limit=limit),
        repairs=await stores.books.delete_repairs(kept=kept.repairs, limit=limit),
    )
    if deleted.total:
        log.info("expired_rows_deleted", **structs.asdict(deleted))
    return deleted
