"""The times at which past events are closed and opened; the counts of closed events are only in PostgreSQL."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add when an event was closed, and since when it is open.

    Every event counts as opened now: none is closed before EVENT_CLOSE_AFTER_DAYS have passed, when no process of the
    previous release, which looks for the counters of every event, runs any more. A change of the terms that does not
    open a closed event first is refused: its counters would begin at 0.
    """
    lock_tables(op.get_bind(), "events")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        "ALTER TABLE events ADD COLUMN closed_at timestamptz, ADD COLUMN opened_at timestamptz NOT NULL DEFAULT now()"
    )
    op.execute(
        "ALTER TABLE events ADD CONSTRAINT ck_events_closed CHECK "
        "((closed_at IS NOT NULL) = (terms_token LIKE 'closed-%'))"
    )
    op.execute("CREATE INDEX ix_events_open ON events (id) WHERE closed_at IS NULL")
    op.execute(
        "COMMENT ON COLUMN events.closed_at IS 'Since when it has no counters in Redis; NULL while it has them.'"
    )
    op.execute("COMMENT ON COLUMN events.opened_at IS 'Since when it has counters, or had them until it was closed.'")
    op.execute("COMMENT ON INDEX ix_events_open IS 'Events with counters: for rebuild and reconciliation.'")


def downgrade() -> None:
    """Forget which events are closed; the next rebuild makes their counters again."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE events DROP CONSTRAINT ck_events_closed")
    op.execute("DROP INDEX ix_events_open")
    op.execute("ALTER TABLE events DROP COLUMN closed_at, DROP COLUMN opened_at")
