"""An index for guest lists, oldest booking first."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index concurrently: a build that blocks writes would stop every sale."""
    with op.get_context().autocommit_block():
        # A build that was cut short leaves an index that is never used.
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_bookings_guests")
        op.execute("CREATE INDEX CONCURRENTLY ix_bookings_guests ON bookings (event_id, created_at, id)")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("COMMENT ON INDEX ix_bookings_guests IS 'Guest lists, oldest booking first.'")


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX ix_bookings_guests")
