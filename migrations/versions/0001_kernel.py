"""Accounts, events, pools, bookings and the epoch of the inventory."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE inventory_epoch (
        one boolean NOT NULL DEFAULT true,
        epoch bigint NOT NULL,
        CONSTRAINT pk_inventory_epoch PRIMARY KEY (one),
        CONSTRAINT ck_inventory_epoch_one_row CHECK (one)
    )
    """,
    "COMMENT ON TABLE inventory_epoch IS 'What belongs to an older epoch of the inventory changes nothing any more.'",
    "INSERT INTO inventory_epoch (epoch) VALUES (1)",
    """
    CREATE TABLE accounts (
        id uuid NOT NULL,
        email text NOT NULL,
        email_key text NOT NULL,
        password_hash text NOT NULL,
        role text NOT NULL,
        status text NOT NULL,
        token_epoch integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        CONSTRAINT pk_accounts PRIMARY KEY (id),
        CONSTRAINT uq_accounts_email_key UNIQUE (email_key),
        CONSTRAINT ck_accounts_role CHECK (role IN ('attendee', 'organizer', 'admin')),
        CONSTRAINT ck_accounts_status CHECK (status IN ('active', 'banned', 'closed'))
    )
    """,
    "COMMENT ON COLUMN accounts.email_key IS 'The form in which two spellings of one address are equal.'",
    "COMMENT ON COLUMN accounts.token_epoch IS 'Grows when every token of the account must stop working at once.'",
    "CREATE INDEX ix_accounts_role ON accounts (role, created_at, id)",
    """
    CREATE TABLE sessions (
        id uuid NOT NULL,
        account_id uuid NOT NULL,
        refresh_hash bytea NOT NULL,
        created_at timestamptz NOT NULL,
        expires_at timestamptz NOT NULL,
        revoked_at timestamptz,
        CONSTRAINT pk_sessions PRIMARY KEY (id),
        CONSTRAINT fk_sessions_account FOREIGN KEY (account_id) REFERENCES accounts (id)
    )
    """,
    "COMMENT ON COLUMN sessions.refresh_hash IS 'SHA-256 of the one refresh token that works now.'",
    "COMMENT ON COLUMN sessions.revoked_at IS 'Null while the session lives.'",
    "CREATE INDEX ix_sessions_account ON sessions (account_id, expires_at)",
    """
    CREATE TABLE events (
        id uuid NOT NULL,
        organizer_id uuid NOT NULL,
        title text NOT NULL,
        description text NOT NULL,
        location text NOT NULL,
        starts_at timestamptz NOT NULL,
        ends_at timestamptz,
        capacity integer NOT NULL,
        max_per_user integer NOT NULL,
        sales_open_at timestamptz,
        sales_close_at timestamptz,
        paused boolean NOT NULL,
        cancelled_at timestamptz,
        cleared_at timestamptz,
        partition smallint NOT NULL,
        version integer NOT NULL,
        terms_token text NOT NULL,
        created_at timestamptz NOT NULL,
        CONSTRAINT pk_events PRIMARY KEY (id),
        CONSTRAINT fk_events_organizer FOREIGN KEY (organizer_id) REFERENCES accounts (id),
        CONSTRAINT ck_events_capacity CHECK (capacity BETWEEN 1 AND 1000000),
        CONSTRAINT ck_events_max_per_user CHECK (max_per_user BETWEEN 1 AND 100)
    )
    """,
    "COMMENT ON COLUMN events.ends_at IS 'Null when the organizer did not say.'",
    "COMMENT ON COLUMN events.sales_open_at IS 'Null: on sale from the beginning.'",
    "COMMENT ON COLUMN events.sales_close_at IS 'Null: until the event starts.'",
    "COMMENT ON COLUMN events.cancelled_at IS 'Null unless the event was cancelled.'",
    "COMMENT ON COLUMN events.cleared_at IS 'When no booking of a cancelled event held places any more.'",
    "COMMENT ON COLUMN events.terms_token IS 'Names this very set of sales terms; Redis holds the same.'",
    "CREATE INDEX ix_events_starts ON events (starts_at, id) WHERE cancelled_at IS NULL",
    "CREATE INDEX ix_events_organizer ON events (organizer_id, starts_at, id)",
    "CREATE INDEX ix_events_uncleared ON events (cancelled_at) WHERE cancelled_at IS NOT NULL AND cleared_at IS NULL",
    """
    CREATE TABLE pools (
        event_id uuid NOT NULL,
        counter text NOT NULL,
        size integer NOT NULL,
        taken integer NOT NULL,
        CONSTRAINT pk_pools PRIMARY KEY (event_id, counter),
        CONSTRAINT fk_pools_event FOREIGN KEY (event_id) REFERENCES events (id),
        CONSTRAINT ck_pools_taken CHECK (taken BETWEEN 0 AND size)
    ) WITH (fillfactor = 50)
    """,
    "COMMENT ON TABLE pools IS 'Places that confirmed bookings take; the CHECK is the last word on capacity.'",
    """
    CREATE TABLE bookings (
        id uuid NOT NULL,
        event_id uuid NOT NULL,
        user_id uuid NOT NULL,
        quantity integer NOT NULL,
        status text NOT NULL,
        version integer NOT NULL,
        created_at timestamptz NOT NULL,
        confirmed_at timestamptz,
        cancelled_at timestamptz,
        reason text,
        CONSTRAINT pk_bookings PRIMARY KEY (id),
        CONSTRAINT fk_bookings_event FOREIGN KEY (event_id) REFERENCES events (id),
        CONSTRAINT fk_bookings_user FOREIGN KEY (user_id) REFERENCES accounts (id),
        CONSTRAINT ck_bookings_quantity CHECK (quantity BETWEEN 1 AND 100),
        CONSTRAINT ck_bookings_status CHECK (status IN ('confirmed', 'cancelled', 'rejected')),
        CONSTRAINT ck_bookings_cancelled CHECK (status <> 'cancelled' OR cancelled_at IS NOT NULL)
    )
    """,
    "COMMENT ON COLUMN bookings.version IS 'Grows with every change; a write of a lower one changes nothing.'",
    "COMMENT ON COLUMN bookings.confirmed_at IS 'Null when it was cancelled or rejected before it was persisted.'",
    "COMMENT ON COLUMN bookings.cancelled_at IS 'Null unless it was cancelled.'",
    "COMMENT ON COLUMN bookings.reason IS 'Why it was rejected, or cancelled by somebody else.'",
    """
    CREATE UNIQUE INDEX ix_bookings_key ON bookings (substring(uuid_send(id) FROM 1 FOR 10))
    WHERE status <> 'rejected'
    """,
    "COMMENT ON INDEX ix_bookings_key IS 'One booking of an account and key. Rejected ones took nothing.'",
    "CREATE INDEX ix_bookings_user ON bookings (user_id, created_at DESC, id DESC)",
    "CREATE INDEX ix_bookings_event ON bookings (event_id, id)",
    """
    CREATE TABLE audit_log (
        id bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL,
        actor_id uuid,
        action text NOT NULL,
        target_id uuid,
        detail jsonb NOT NULL,
        CONSTRAINT pk_audit_log PRIMARY KEY (id)
    )
    """,
    "COMMENT ON COLUMN audit_log.actor_id IS 'Null when it was done on the command line.'",
    "COMMENT ON COLUMN audit_log.target_id IS 'Null when the action is about nothing in particular.'",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, and everything in them."""
    op.execute("DROP TABLE audit_log, bookings, pools, events, sessions, accounts, inventory_epoch")
