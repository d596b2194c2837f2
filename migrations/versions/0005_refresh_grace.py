"""The time of a session's latest refresh, so that a lost answer can be repeated."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; rows of an older version leave it null."""
    lock_tables(op.get_bind(), "sessions")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE sessions ADD COLUMN rotated_at timestamptz")
    op.execute("COMMENT ON COLUMN sessions.rotated_at IS 'Null until the first refresh.'")


def downgrade() -> None:
    """Drop the column."""
    op.execute("ALTER TABLE sessions DROP COLUMN rotated_at")
