"""The claims of the bookings that were made before bookings stored them."""

from __future__ import annotations

import time

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

BLOCKS_PER_STEP = 100
"""Blocks of the table that one transaction carries over: some 6,000 bookings, in 0.1 s."""

PAUSE_S = 0.05
"""The pause before rows are looked for again that other transactions had locked."""

_STEP = """
    UPDATE {table} SET claims = NULL WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table}
        WHERE claims IS NULL AND ctid >= '({first},0)' AND ctid < '({end},0)'
        FOR NO KEY UPDATE SKIP LOCKED
    ))
"""
"""The trigger fills in the claims, of this update as of those of the previous release.

It skips rows that another transaction has locked, so it waits for none, and none waits crosswise with it.
"""


def upgrade() -> None:
    """Carry bookings and intents over in steps, beside traffic of both releases.

    Each step is a transaction of its own. A run that was killed is carried on by the next one: a booking with claims is
    left alone. Every row that is written meanwhile gets its claims from the trigger.
    """
    with op.get_context().autocommit_block():
        for table in ("bookings", "intents"):
            _carry_over(table)
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT ck_bookings_claims")
    op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT ck_bookings_status")
    op.execute("ALTER TABLE intents VALIDATE CONSTRAINT ck_intents_claims")


_LEFT = "SELECT EXISTS (SELECT FROM {table} WHERE claims IS NULL)"


def _carry_over(table: str) -> None:
    """Write the claims of every row that has none, in the order of the table's blocks."""
    connection = op.get_bind()
    size = f"SELECT pg_relation_size('{table}') / current_setting('block_size')::bigint"
    left = _LEFT.format(table=table)
    while connection.exec_driver_sql(left).scalar_one():
        for first in range(0, connection.exec_driver_sql(size).scalar_one(), BLOCKS_PER_STEP):
            connection.exec_driver_sql(_STEP.format(table=table, first=first, end=first + BLOCKS_PER_STEP))
        time.sleep(PAUSE_S)


def downgrade() -> None:
    """Nothing: 0013 removes the column."""
