"""Payments, refunds, the payments that buyers have begun at a provider, and bookings whose money must be decided."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE payments (
        id uuid CONSTRAINT pk_payments PRIMARY KEY,
        provider text NOT NULL,
        reference text NOT NULL,
        booking_id uuid NOT NULL,
        event_id uuid NOT NULL CONSTRAINT fk_payments_event REFERENCES events (id),
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        state text NOT NULL,
        returned_minor bigint NOT NULL DEFAULT 0,
        kept_minor bigint NOT NULL DEFAULT 0,
        cause text,
        owner_refund text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        next_at timestamptz NOT NULL DEFAULT clock_timestamp() + interval '1 second',
        CONSTRAINT uq_payments_reference UNIQUE (provider, event_id, reference),
        CONSTRAINT ck_payments_provider CHECK (provider IN ('external', 'stripe', 'test')),
        CONSTRAINT ck_payments_amount CHECK (amount_minor > 0 AND currency ~ '^[A-Z]{3}$'),
        CONSTRAINT ck_payments_state CHECK (state IN ('received', 'applied', 'returned')),
        CONSTRAINT ck_payments_money CHECK (
            returned_minor >= 0 AND kept_minor >= 0 AND returned_minor + kept_minor <= amount_minor
            AND (state <> 'received' OR returned_minor + kept_minor = 0)
            AND (state = 'returned') = (cause IS NOT NULL)
            AND (state <> 'returned' OR returned_minor = amount_minor)
        ),
        CONSTRAINT ck_payments_owner_refund CHECK (owner_refund IN ('none', 'full'))
    )
    """,
    "CREATE UNIQUE INDEX uq_payments_active ON payments (booking_id) WHERE state <> 'returned'",
    "CREATE INDEX ix_payments_booking ON payments (booking_id)",
    "CREATE INDEX ix_payments_received ON payments (next_at) WHERE state = 'received'",
    """
    CREATE TABLE refunds (
        id uuid CONSTRAINT pk_refunds PRIMARY KEY,
        payment_id uuid NOT NULL CONSTRAINT fk_refunds_payment REFERENCES payments (id),
        booking_id uuid NOT NULL,
        event_id uuid NOT NULL,
        provider text NOT NULL,
        cause text NOT NULL,
        booking_version integer NOT NULL,
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        state text NOT NULL DEFAULT 'due',
        attempt integer NOT NULL DEFAULT 0,
        reference text,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        done_at timestamptz,
        CONSTRAINT uq_refunds_cause UNIQUE (payment_id, booking_version),
        CONSTRAINT ck_refunds_amount CHECK (amount_minor > 0),
        CONSTRAINT ck_refunds_state CHECK (
            state IN ('due', 'sent', 'done') AND (state = 'done') = (done_at IS NOT NULL)
        )
    )
    """,
    "CREATE INDEX ix_refunds_booking ON refunds (booking_id)",
    "CREATE INDEX ix_refunds_unsent ON refunds (next_at) WHERE state <> 'done' AND provider <> 'external'",
    """
    CREATE TABLE payment_intents (
        id uuid CONSTRAINT pk_payment_intents PRIMARY KEY,
        provider text NOT NULL,
        reference text,
        booking_id uuid NOT NULL,
        event_id uuid NOT NULL CONSTRAINT fk_payment_intents_event REFERENCES events (id),
        amount_minor bigint NOT NULL,
        currency text NOT NULL,
        state text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        next_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        CONSTRAINT uq_payment_intents_reference UNIQUE (provider, reference),
        CONSTRAINT ck_payment_intents_amount CHECK (amount_minor > 0 AND currency ~ '^[A-Z]{3}$'),
        CONSTRAINT ck_payment_intents_state CHECK (state IN ('opening', 'open', 'closed'))
    )
    """,
    "CREATE UNIQUE INDEX uq_payment_intents_open ON payment_intents (booking_id) WHERE state <> 'closed'",
    "CREATE INDEX ix_payment_intents_open ON payment_intents (next_at) WHERE state <> 'closed'",
    """
    CREATE TABLE payment_checks (
        booking_id uuid NOT NULL,
        version integer NOT NULL,
        CONSTRAINT pk_payment_checks PRIMARY KEY (booking_id, version)
    )
    """,
)

COMMENTS = {
    "TABLE payments": "Money received for bookings. A row stands before anything is answered for it.",
    "TABLE refunds": "Money that goes back, once for each cause.",
    "TABLE payment_intents": "Payments that buyers have begun at a provider.",
    "TABLE payment_checks": "Versions of bookings with a price: what becomes of their payments must be decided.",
    "COLUMN payments.cause": "Why it did not pay for the booking; NULL while it may, or does.",
    "COLUMN payments.returned_minor": "What goes back of it, sent or not.",
    "COLUMN payments.kept_minor": "What the owner gave up by cancelling without a refund.",
    "COLUMN payments.owner_refund": "The policy of the event when it was paid.",
    "COLUMN payments.next_at": "When a worker tries again to apply it.",
    "COLUMN refunds.booking_version": "The version of the booking that caused it; 0 if the payment never paid for it.",
    "COLUMN refunds.attempt": "How often the provider was asked for it.",
    "COLUMN refunds.reference": "The name of the provider for it; NULL until it is done.",
    "COLUMN refunds.done_at": "NULL until it is done.",
    "COLUMN payment_intents.reference": "The name of the provider for it; NULL until the provider has answered.",
    "INDEX uq_payments_active": "One payment pays for a booking; any other goes back.",
}


def upgrade() -> None:
    """Make the tables. References to events lock that table against writers for a moment."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in TABLES:
        op.execute(statement)
    for subject, comment in COMMENTS.items():
        op.execute(f"COMMENT ON {subject} IS '{comment}'")


def downgrade() -> None:
    """Forget all payments."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in ("payment_checks", "payment_intents", "refunds", "payments"):
        op.execute(f"DROP TABLE {table}")
