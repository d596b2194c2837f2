"""An index of ended and expired sessions, so that deleting them reads no others."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index. Logins wait while it is built, about a second for a million sessions; sales do not."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("CREATE INDEX ix_sessions_over ON sessions (least(expires_at, revoked_at))")
    op.execute("COMMENT ON INDEX ix_sessions_over IS 'Sessions in the order in which they ended or will expire.'")


def downgrade() -> None:
    """Drop the index."""
    op.execute("DROP INDEX ix_sessions_over")
