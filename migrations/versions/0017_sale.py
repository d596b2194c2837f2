"""What an event sells: ticket types, pools and promo codes; and its terms for money, holds and time zones."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

EVENT_COLUMNS = {
    "time_zone": "text NOT NULL DEFAULT 'UTC'",
    "starts_at_local": "timestamp",
    "currency": "text",
    "hold_seconds": "integer NOT NULL DEFAULT 600",
    "hold_extend_until_seconds": "integer",
    "max_holds_per_user": "integer NOT NULL DEFAULT 3",
    "payment": "text NOT NULL DEFAULT 'none'",
    "refund_on_owner_cancel": "text NOT NULL DEFAULT 'none'",
    "series_id": "uuid",
    "typed": "boolean NOT NULL DEFAULT false",
}

EVENT_CHECKS = {
    "currency": "currency ~ '^[A-Z]{3}$'",
    "hold": "hold_seconds > 0 AND coalesce(hold_extend_until_seconds, hold_seconds) >= hold_seconds",
    "holds": "max_holds_per_user > 0",
    "payment": "payment IN ('none', 'external', 'stripe', 'test') AND (payment = 'none' OR currency IS NOT NULL)",
    "refund": "refund_on_owner_cancel IN ('none', 'full')",
}

COMMENTS = {
    "events.time_zone": "IANA name of the zone of the venue.",
    "events.starts_at_local": "The start in the zone of the venue; NULL: starts_at in UTC.",
    "events.currency": "ISO 4217; NULL for an event without prices.",
    "events.hold_seconds": "How long tickets are held until they are paid.",
    "events.hold_extend_until_seconds": "The latest deadline, from the start of a hold; NULL: twice hold_seconds.",
    "events.series_id": "Groups the dates of one show; NULL for a single date.",
    "events.typed": "It has rows in ticket_types; otherwise its only type is free, and has the id of the event.",
    "ticket_types.requires_type_id": "A ticket type of which a buyer must have a ticket; NULL for none.",
    "ticket_types.max_per_user": "Tickets of this type that one account may have; NULL for no limit of its own.",
    "ticket_types.sales_open_at": "NULL: with the event.",
    "ticket_types.sales_close_at": "NULL: with the event.",
    "ticket_types.archived_at": "Since when it is not sold any more; NULL while it is.",
    "ticket_pools.parent_id": "The pool that contains this one; NULL for none.",
    "promo_codes.max_uses": "Bookings that may use it; NULL for any number.",
    "promo_codes.max_uses_per_user": "Bookings of one account that may use it; NULL for any number.",
    "promo_codes.percent_off": "NULL without a discount in percent.",
    "promo_codes.amount_off_minor": "Off the total, in minor units; NULL without.",
    "promo_codes.ticket_type_ids": "The ticket types that it is for; NULL for all.",
    "promo_codes.valid_from": "NULL: at once.",
    "promo_codes.valid_until": "NULL: until sales close.",
    "promo_codes.archived_at": "Since when it cannot be used any more; NULL while it can.",
}

TABLES = (
    """
    CREATE TABLE ticket_pools (
        id uuid CONSTRAINT pk_ticket_pools PRIMARY KEY,
        event_id uuid NOT NULL CONSTRAINT fk_ticket_pools_event REFERENCES events (id),
        name text NOT NULL,
        parent_id uuid CONSTRAINT fk_ticket_pools_parent REFERENCES ticket_pools (id),
        version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        CONSTRAINT ck_ticket_pools_parent CHECK (parent_id <> id)
    )
    """,
    "CREATE INDEX ix_ticket_pools_event ON ticket_pools (event_id)",
    "COMMENT ON TABLE ticket_pools IS 'Parts of the room or stock of an event. Their sizes are in counters.'",
    """
    CREATE TABLE ticket_types (
        id uuid CONSTRAINT pk_ticket_types PRIMARY KEY,
        event_id uuid NOT NULL CONSTRAINT fk_ticket_types_event REFERENCES events (id),
        name text NOT NULL,
        description text NOT NULL DEFAULT '',
        price_minor bigint NOT NULL DEFAULT 0,
        pools uuid[] NOT NULL DEFAULT '{}',
        weight integer NOT NULL DEFAULT 1,
        takes_room boolean NOT NULL DEFAULT true,
        counts_for_max_per_user boolean NOT NULL DEFAULT true,
        requires_type_id uuid,
        min_per_booking integer NOT NULL DEFAULT 1,
        max_per_booking integer NOT NULL DEFAULT 100,
        max_per_user integer,
        sales_open_at timestamptz,
        sales_close_at timestamptz,
        hidden boolean NOT NULL DEFAULT false,
        position integer NOT NULL DEFAULT 0,
        version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        archived_at timestamptz,
        CONSTRAINT ck_ticket_types_price CHECK (price_minor >= 0),
        CONSTRAINT ck_ticket_types_weight CHECK (weight BETWEEN 1 AND 20),
        CONSTRAINT ck_ticket_types_quantity CHECK (min_per_booking BETWEEN 1 AND max_per_booking),
        CONSTRAINT ck_ticket_types_max_per_user CHECK (max_per_user > 0)
    )
    """,
    "CREATE INDEX ix_ticket_types_event ON ticket_types (event_id)",
    "COMMENT ON TABLE ticket_types IS 'What a buyer of an event can choose.'",
    """
    CREATE TABLE promo_codes (
        id uuid CONSTRAINT pk_promo_codes PRIMARY KEY,
        event_id uuid NOT NULL CONSTRAINT fk_promo_codes_event REFERENCES events (id),
        code text NOT NULL,
        code_key text NOT NULL,
        max_uses integer,
        max_uses_per_user integer,
        percent_off integer,
        amount_off_minor bigint,
        ticket_type_ids uuid[],
        valid_from timestamptz,
        valid_until timestamptz,
        unlocks_hidden boolean NOT NULL DEFAULT false,
        version integer NOT NULL DEFAULT 1,
        created_at timestamptz NOT NULL,
        archived_at timestamptz,
        CONSTRAINT ck_promo_codes_uses CHECK (max_uses > 0 AND max_uses_per_user > 0),
        CONSTRAINT ck_promo_codes_discount CHECK (
            percent_off BETWEEN 1 AND 100 AND amount_off_minor IS NULL
            OR amount_off_minor > 0 AND percent_off IS NULL
            OR percent_off IS NULL AND amount_off_minor IS NULL
        )
    )
    """,
    "CREATE UNIQUE INDEX uq_promo_codes_code ON promo_codes (event_id, code_key) WHERE archived_at IS NULL",
    "COMMENT ON TABLE promo_codes IS 'Codes that change a price or show hidden ticket types. Uses are in counters.'",
    "COMMENT ON COLUMN promo_codes.code_key IS 'The code without case, by which it is found.'",
)

FENCE = (
    """
    CREATE FUNCTION fence_layout() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'a version that knows no layouts cannot begin an epoch of layout %', NEW.layout
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END $$
    """,
    """
    CREATE TRIGGER tr_inventory_epoch_layout BEFORE UPDATE ON inventory_epoch FOR EACH ROW
    WHEN (NEW.layout > 1 AND NEW.epoch > OLD.epoch AND NEW.server_epoch IS DISTINCT FROM NEW.epoch)
    EXECUTE FUNCTION fence_layout()
    """,
)
"""Version 0.1.0 knows no layouts: it would sell tickets with prices for nothing, and rebuild by turns with this one."""


def upgrade() -> None:
    """Add columns with constant defaults, which reads no row, and tables. Existing events have one free type."""
    lock_tables(op.get_bind(), "events")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(f"ALTER TABLE events {', '.join(f'ADD COLUMN {name} {kind}' for name, kind in EVENT_COLUMNS.items())}")
    for name, check in EVENT_CHECKS.items():
        op.execute(f"ALTER TABLE events ADD CONSTRAINT ck_events_{name} CHECK ({check}) NOT VALID")
    for statement in (*TABLES, *FENCE):
        op.execute(statement)
    for column, comment in COMMENTS.items():
        op.execute(f"COMMENT ON COLUMN {column} IS '{comment}'")
    op.execute("CREATE INDEX ix_events_series ON events (series_id, starts_at, id) WHERE series_id IS NOT NULL")


def downgrade() -> None:
    """Forget ticket types, pools, codes and terms. Their counters stay: bookings claim them."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TRIGGER tr_inventory_epoch_layout ON inventory_epoch")
    op.execute("DROP FUNCTION fence_layout")
    for table in ("promo_codes", "ticket_types", "ticket_pools"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP INDEX ix_events_series")
    op.execute(f"ALTER TABLE events {', '.join(f'DROP COLUMN {name}' for name in EVENT_COLUMNS)}")
