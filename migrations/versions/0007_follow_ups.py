"""Follow-ups of changed accounts are recorded until they are done; events are suspended with their organizer."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

LOCK_TIMEOUT = "SET LOCAL lock_timeout = '4s'"
"""The migration fails after this time and can be repeated."""

UPGRADE = (
    LOCK_TIMEOUT,
    "ALTER TABLE accounts ADD COLUMN follow_up_since timestamptz, ADD COLUMN follow_up_at timestamptz",
    """
    COMMENT ON COLUMN accounts.follow_up_since IS
    'When the account last changed in what must be told to Redis or its events. Null when all of that is done.'
    """,
    "COMMENT ON COLUMN accounts.follow_up_at IS 'When a worker looks at it next. Null when nothing is to be done.'",
    "CREATE INDEX ix_accounts_follow_up ON accounts (follow_up_at) WHERE follow_up_at IS NOT NULL",
    """
    CREATE FUNCTION account_follow_up() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF (OLD.status, OLD.role, OLD.token_epoch, OLD.password_hash)
            IS DISTINCT FROM (NEW.status, NEW.role, NEW.token_epoch, NEW.password_hash)
        THEN
            NEW.follow_up_since := clock_timestamp();
            NEW.follow_up_at := NEW.follow_up_since;
        END IF;
        RETURN NEW;
    END $$
    """,
    """
    COMMENT ON FUNCTION account_follow_up() IS
    'No writer can forget it: not a command by hand, nor the previous release beside this one.'
    """,
    """
    CREATE TRIGGER account_follow_up BEFORE UPDATE ON accounts
    FOR EACH ROW EXECUTE FUNCTION account_follow_up()
    """,
    "ALTER TABLE events ADD COLUMN paused_by_organizer boolean",
    """
    COMMENT ON COLUMN events.paused_by_organizer IS
    'Null unless the event is suspended: then what its organizer says of `paused`, which is true meanwhile.'
    """,
    "COMMENT ON COLUMN events.paused IS 'Nothing is sold: paused by its organizer, or suspended.'",
    # Accounts that stopped being organizers under the previous release; workers suspend their events.
    """
    UPDATE accounts SET follow_up_since = clock_timestamp(), follow_up_at = clock_timestamp()
    WHERE (status <> 'active' OR role = 'attendee') AND EXISTS (
        SELECT FROM events WHERE organizer_id = accounts.id AND cancelled_at IS NULL AND starts_at > now()
    )
    """,
)

DOWNGRADE = (
    LOCK_TIMEOUT,
    "ALTER TABLE events DROP COLUMN paused_by_organizer",
    "COMMENT ON COLUMN events.paused IS NULL",
    "DROP TRIGGER account_follow_up ON accounts",
    "DROP FUNCTION account_follow_up()",
    "ALTER TABLE accounts DROP COLUMN follow_up_at, DROP COLUMN follow_up_since",
)


def upgrade() -> None:
    """Add the columns and their trigger.

    Bookings are written under locks on events and then on accounts, other rows the other way round: both tables are
    locked before either is changed.
    """
    lock_tables(op.get_bind(), "accounts", "events")
    for statement in UPGRADE:
        op.execute(statement)


def downgrade() -> None:
    """Drop the columns and the trigger."""
    for statement in DOWNGRADE:
        op.execute(statement)
