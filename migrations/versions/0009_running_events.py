"""An index of events that have begun and are not over, so that past events are not read."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEX = """
    CREATE INDEX CONCURRENTLY ix_events_running ON events USING gist (tstzrange(starts_at, greatest(
        starts_at, coalesce(ends_at, timezone('UTC', timezone('UTC', starts_at) + interval '24 hours'))
    ))) WHERE cancelled_at IS NULL
"""


def upgrade() -> None:
    """Create the index concurrently with writes."""
    with op.get_context().autocommit_block():
        # A build that was cut short leaves an index that is never used.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_events_running")
        op.execute(INDEX)
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("COMMENT ON INDEX ix_events_running IS 'What goes on at a moment.'")


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX ix_events_running")
