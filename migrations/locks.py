"""Locks on tables that are in use."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy.exc import DBAPIError

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK_MS_MAX = 100
"""How long one attempt waits for each table, and requests of that table behind it.

Far below `deadlock_timeout`, whose default is 1 s. So an attempt that waits crosswise with another transaction ends
before PostgreSQL ends one of the two.
"""

ATTEMPTS_MAX = 300
PAUSE_S = 0.2

LOCK_NOT_AVAILABLE = "55P03"


def lock_tables(connection: Connection, *tables: str) -> None:
    """Lock tables for this transaction alone, in short attempts, so that traffic passes between two of them.

    Raises:
        DBAPIError: the last of ATTEMPTS_MAX attempts failed, or PostgreSQL refuses.
    """
    for attempt in range(1, ATTEMPTS_MAX + 1):
        try:
            with connection.begin_nested():
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_MS_MAX}ms'")
                connection.exec_driver_sql(f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE")
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE or attempt == ATTEMPTS_MAX:
                raise
            time.sleep(PAUSE_S)
        else:
            return
