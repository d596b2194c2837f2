"""Holds: bookings with a deadline; and gates, which let only requests with a pass take a counter."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

COMMENTS = {
    "bookings.taken_at": "When it took its claims again after it had expired; NULL for a booking that never did.",
    "intents.taken_at": "When it took its claims again after it had expired; NULL for a booking that never did.",
    "counters.gate": "The pass that a request needs to take of it; NULL while anybody may.",
}


def upgrade() -> None:
    """Add the columns, and an index of the few bookings that are holds, beside writers.

    A run that was killed while it built the index has committed the first part, so the next run repeats that.
    """
    lock_tables(op.get_bind(), "counters", "bookings", "intents")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bookings ADD COLUMN IF NOT EXISTS taken_at timestamptz")
    op.execute("ALTER TABLE intents ADD COLUMN IF NOT EXISTS taken_at timestamptz")
    op.execute("ALTER TABLE counters ADD COLUMN IF NOT EXISTS gate text")
    _constrain("counters", "ck_counters_gate", "CHECK (gate ~ '^[A-Za-z0-9_-]{1,64}$')")
    _constrain("bookings", "ck_bookings_due", "CHECK (status <> 'held' OR due_at IS NOT NULL) NOT VALID")
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS '{comment}'")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_bookings_held")
        op.execute("CREATE INDEX CONCURRENTLY ix_bookings_held ON bookings (event_id) WHERE status = 'held'")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT ck_bookings_due")
    op.execute("COMMENT ON INDEX ix_bookings_held IS 'Holds, whose records a rebuild restores.'")


def _constrain(table: str, name: str, check: str) -> None:
    op.execute(f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {name}, ADD CONSTRAINT {name} {check}")


def downgrade() -> None:
    """Drop the index and the columns."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP INDEX ix_bookings_held")
    op.execute("ALTER TABLE bookings DROP CONSTRAINT ck_bookings_due, DROP COLUMN taken_at")
    op.execute("ALTER TABLE intents DROP COLUMN taken_at")
    op.execute("ALTER TABLE counters DROP COLUMN gate")
