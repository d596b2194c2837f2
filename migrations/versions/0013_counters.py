"""Every scarce thing is a counter: the pools become counters, and bookings store the claims that they consist of."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STATUSES = ("held", "confirmed", "cancelled", "expired", "rejected")

COLUMNS = """
    ADD COLUMN claims text, ADD COLUMN fingerprint text, ADD COLUMN body jsonb, ADD COLUMN amount_minor bigint,
    ADD COLUMN currency text, ADD COLUMN due_at timestamptz
"""

COMMENTS = {
    "claims": "Counters and quantities: 'user:@=2 pool:main=2', @ is the account. NULL only while it is migrated.",
    "fingerprint": "What makes two requests with its key the same; NULL: the event and the number of tickets.",
    "body": "What the kernel does not read: order lines, prices. NULL for tickets without a price.",
    "amount_minor": "The total in minor units of the currency; NULL for tickets without a price.",
    "currency": "ISO 4217; NULL without an amount.",
    "due_at": "The deadline of a hold; NULL for a booking that never was one.",
}

PREVIOUS_RELEASE = (
    "CREATE VIEW pools AS SELECT event_id, counter, size, taken FROM counters",
    "COMMENT ON VIEW pools IS 'For processes of the previous release that run beside this one.'",
    """
    CREATE FUNCTION claims_before() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.claims := 'user\\:@=' || NEW.quantity || ' pool\\:main=' || NEW.quantity;
        RETURN NEW;
    END $$
    """,
    *(
        f"""
        CREATE TRIGGER tr_{table}_claims BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW WHEN (NEW.claims IS NULL)
        EXECUTE FUNCTION claims_before()
        """
        for table in ("bookings", "intents")
    ),
)
"""The names and columns that the previous release writes. Remove them in the next release.

Its bookings claim their tickets of the account and of the only pool. The function fills in the claims of every row that
the previous release writes, and of the rows that `0014` carries over.
"""

PLAIN_CLAIMS = """
    (claims IS NULL OR claims = 'user\\:@=' || quantity || ' pool\\:main=' || quantity)
    AND status NOT IN ('held', 'expired')
"""
"""What the previous release can read."""


def upgrade() -> None:
    """Rename the table, add columns and triggers; 0014 carries the bookings over.

    It reads no booking: once it has the locks, it holds them for some milliseconds.
    """
    lock_tables(op.get_bind(), "pools", "bookings", "intents")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE pools RENAME TO counters")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT pk_pools TO pk_counters")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT fk_pools_event TO fk_counters_event")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT ck_pools_taken TO ck_counters_taken")
    op.execute(
        "ALTER TABLE counters ADD CONSTRAINT ck_counters_name CHECK "
        "(counter ~ '^[a-z]+\\:[A-Za-z0-9\\:_-]{1,80}$' AND counter NOT LIKE 'size\\:%')"
    )
    op.execute("COMMENT ON TABLE counters IS 'What is taken of each; the CHECK is the last word on every size.'")
    for table in ("bookings", "intents"):
        op.execute(f"ALTER TABLE {table} {COLUMNS}")
        for column, comment in COMMENTS.items():
            quoted = comment.replace("'", "''")
            op.execute(f"COMMENT ON COLUMN {table}.{column} IS '{quoted}'")
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_claims CHECK (claims IS NOT NULL) NOT VALID")
    op.execute(
        f"ALTER TABLE bookings DROP CONSTRAINT ck_bookings_status, ADD CONSTRAINT ck_bookings_status {_states()}"
    )
    for statement in PREVIOUS_RELEASE:
        op.execute(statement)


def _states() -> str:
    listed = ", ".join(f"'{status}'" for status in STATUSES)
    return f"CHECK (status IN ({listed})) NOT VALID"


def downgrade() -> None:
    """Go back to pools. Bookings of other states or with other claims cannot be kept; with any, this fails."""
    lock_tables(op.get_bind(), "counters", "bookings", "intents")
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("bookings", "intents"):
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_going_back CHECK ({PLAIN_CLAIMS})")
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_going_back, DROP CONSTRAINT ck_{table}_claims")
    op.execute("DELETE FROM counters WHERE counter <> 'pool:main'")
    op.execute("DROP VIEW pools")
    for table in ("bookings", "intents"):
        op.execute(f"DROP TRIGGER tr_{table}_claims ON {table}")
        op.execute(
            f"ALTER TABLE {table} DROP COLUMN claims, DROP COLUMN fingerprint, DROP COLUMN body, "
            "DROP COLUMN amount_minor, DROP COLUMN currency, DROP COLUMN due_at"
        )
    op.execute("DROP FUNCTION claims_before")
    op.execute("ALTER TABLE bookings DROP CONSTRAINT ck_bookings_status")
    states = "CHECK (status IN ('confirmed', 'cancelled', 'rejected'))"
    op.execute(f"ALTER TABLE bookings ADD CONSTRAINT ck_bookings_status {states}")
    op.execute("ALTER TABLE counters DROP CONSTRAINT ck_counters_name")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT ck_counters_taken TO ck_pools_taken")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT fk_counters_event TO fk_pools_event")
    op.execute("ALTER TABLE counters RENAME CONSTRAINT pk_counters TO pk_pools")
    op.execute("ALTER TABLE counters RENAME TO pools")
    op.execute(
        "COMMENT ON TABLE pools IS 'Places that confirmed bookings take; the CHECK is the last word on capacity.'"
    )
