"""Repairs by reconciliation, the lease of a rebuild, and intents, which survive the loss of Redis."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    """
    CREATE TABLE repairs (
        id bigint GENERATED ALWAYS AS IDENTITY,
        at timestamptz NOT NULL,
        event_id uuid NOT NULL,
        fault text NOT NULL,
        subject text NOT NULL,
        found integer NOT NULL,
        expected integer NOT NULL,
        repair text NOT NULL,
        done boolean NOT NULL,
        CONSTRAINT pk_repairs PRIMARY KEY (id),
        CONSTRAINT fk_repairs_event FOREIGN KEY (event_id) REFERENCES events (id)
    )
    """,
    "COMMENT ON TABLE repairs IS 'Each difference that two readings of the books agreed on, and what was done.'",
    "COMMENT ON COLUMN repairs.done IS 'False when somebody else was faster, or it could not be repaired.'",
    "CREATE INDEX ix_repairs_event ON repairs (event_id, id)",
    """
    CREATE TABLE rebuild_lease (
        one boolean NOT NULL DEFAULT true,
        holder uuid NOT NULL,
        until timestamptz NOT NULL,
        CONSTRAINT pk_rebuild_lease PRIMARY KEY (one),
        CONSTRAINT ck_rebuild_lease_one_row CHECK (one)
    )
    """,
    "COMMENT ON TABLE rebuild_lease IS 'Who rebuilds the inventory now; it is over when it was not renewed.'",
    """
    CREATE TABLE intents (
        id uuid NOT NULL,
        version integer NOT NULL,
        event_id uuid NOT NULL,
        user_id uuid NOT NULL,
        quantity integer NOT NULL,
        status text NOT NULL,
        created_at timestamptz NOT NULL,
        cancelled_at timestamptz,
        reason text,
        CONSTRAINT pk_intents PRIMARY KEY (id, version)
    )
    """,
    "COMMENT ON TABLE intents IS 'Acknowledged changes that are not yet in bookings, with DURABILITY=postgres.'",
    "COMMENT ON COLUMN intents.cancelled_at IS 'Null unless the change is a cancellation.'",
    "COMMENT ON COLUMN intents.reason IS 'Why somebody else cancelled it.'",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in TABLES:
        op.execute(statement)


def downgrade() -> None:
    """Drop the tables, and everything in them."""
    op.execute("DROP TABLE intents, rebuild_lease, repairs")
