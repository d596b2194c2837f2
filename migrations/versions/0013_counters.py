"""Every scarce thing is a counter: the pools become counters, and bookings store the claims that they consist of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

ROWS_PER_STEP = 10_000
"""Bookings that one statement carries over. Each statement is a transaction of its own, beside traffic: 0.1 s."""

STATUSES = ("held", "confirmed", "cancelled", "expired", "rejected")

CLAIMS_BEFORE = "'user\\:@=' || {row}.quantity || ' pool\\:main=' || {row}.quantity"
"""The claims of a booking of the releases before: its tickets, of the account and of the only pool."""

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
    """
    CREATE VIEW pools AS SELECT event_id, counter, size, taken FROM counters
    """,
    "COMMENT ON VIEW pools IS 'For processes of the previous release that run beside this one.'",
    f"""
    CREATE FUNCTION claims_before() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        NEW.claims := {CLAIMS_BEFORE.format(row="NEW")};
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER tr_bookings_claims BEFORE INSERT ON bookings FOR EACH ROW WHEN (NEW.claims IS NULL)
    EXECUTE FUNCTION claims_before()
    """,
    """
    CREATE TRIGGER tr_intents_claims BEFORE INSERT ON intents FOR EACH ROW WHEN (NEW.claims IS NULL)
    EXECUTE FUNCTION claims_before()
    """,
)
"""The names and columns that the previous release writes. Remove them in the next release."""


def upgrade() -> None:
    """Rename the table and add the columns, then carry bookings over in steps, beside traffic of both releases.

    The first part holds its locks for some milliseconds. While it waits for them, requests of the same tables wait
    behind it; after five seconds it gives up and changes nothing.
    """
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
    op.execute(
        f"ALTER TABLE bookings DROP CONSTRAINT ck_bookings_status, ADD CONSTRAINT ck_bookings_status {_states()}"
    )
    for statement in PREVIOUS_RELEASE:
        op.execute(statement)
    with op.get_context().autocommit_block():
        _carry_over()
    op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT ck_bookings_status")
    op.execute("ALTER TABLE bookings VALIDATE CONSTRAINT ck_bookings_claims")


def _states() -> str:
    listed = ", ".join(f"'{status}'" for status in STATUSES)
    return f"CHECK (status IN ({listed})) NOT VALID"


def _carry_over() -> None:
    """Write the claims of every booking that has none, in order of id."""
    connection = op.get_bind()
    last = None
    step = sa.text(
        f"""
        WITH page AS (
            SELECT id FROM bookings WHERE (CAST(:last AS uuid) IS NULL OR id > :last) ORDER BY id LIMIT {ROWS_PER_STEP}
        ), carried AS (
            UPDATE bookings SET claims = {CLAIMS_BEFORE.format(row="bookings")} FROM page
            WHERE bookings.id = page.id AND bookings.claims IS NULL
        )
        SELECT id FROM page ORDER BY id DESC LIMIT 1
        """  # noqa: S608  (constants of this module)
    )
    while (last := connection.execute(step, {"last": last}).scalar()) is not None:
        pass
    for table in ("bookings", "intents"):
        claims = CLAIMS_BEFORE.format(row=table)
        op.execute(f"UPDATE {table} SET claims = {claims} WHERE claims IS NULL")  # noqa: S608  (constants)
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT ck_{table}_claims CHECK (claims IS NOT NULL) NOT VALID")


def downgrade() -> None:
    """Go back to pools. Bookings of other states and of other counters cannot be kept; with any, this fails."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE bookings ADD CONSTRAINT ck_going_back CHECK (status NOT IN ('held', 'expired'))")
    op.execute("ALTER TABLE bookings DROP CONSTRAINT ck_going_back, DROP CONSTRAINT ck_bookings_claims")
    op.execute("ALTER TABLE intents DROP CONSTRAINT ck_intents_claims")
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
