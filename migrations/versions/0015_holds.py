"""Holds: bookings with a deadline; and gates, which let only requests with a pass take a counter."""

from __future__ import annotations

from alembic import op

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
    """Add the columns, and an index of the few bookings that are holds, beside writers."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bookings ADD COLUMN taken_at timestamptz")
    op.execute("ALTER TABLE intents ADD COLUMN taken_at timestamptz")
    op.execute("ALTER TABLE counters ADD COLUMN gate text")
    op.execute("ALTER TABLE counters ADD CONSTRAINT ck_counters_gate CHECK (gate ~ '^[A-Za-z0-9_-]{1,64}$')")
    due = "CHECK (status <> 'held' OR due_at IS NOT NULL)"
    op.execute(f"ALTER TABLE bookings ADD CONSTRAINT ck_bookings_due {due} NOT VALID")
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS '{comment}'")
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_bookings_held")
        op.execute("CREATE INDEX CONCURRENTLY ix_bookings_held ON bookings (event_id) WHERE status = 'held'")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT ck_bookings_due")
    op.execute("COMMENT ON INDEX ix_bookings_held IS 'Holds, whose records a rebuild restores.'")


def downgrade() -> None:
    """Drop the index and the columns."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP INDEX ix_bookings_held")
    op.execute("ALTER TABLE bookings DROP CONSTRAINT ck_bookings_due, DROP COLUMN taken_at")
    op.execute("ALTER TABLE intents DROP COLUMN taken_at")
    op.execute("ALTER TABLE counters DROP COLUMN gate")
