"""Singles, such as numbered seats, have a table of their own, with a row for each that a booking holds."""

from __future__ import annotations

from alembic import op

from migrations.locks import lock_tables

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table. No route has sold a single before, so no counter and no booking is carried over."""
    lock_tables(op.get_bind(), "counters")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        """
        CREATE TABLE seats (
            event_id uuid NOT NULL,
            counter text NOT NULL,
            booking_id uuid NOT NULL,
            CONSTRAINT pk_seats PRIMARY KEY (event_id, counter) DEFERRABLE INITIALLY DEFERRED,
            CONSTRAINT ck_seats_counter CHECK (strpos(counter, '=') = 0)
        )
        """
    )
    op.execute("COMMENT ON TABLE seats IS 'Singles that bookings hold; the primary key is the last word on each.'")
    op.execute("ALTER TABLE counters ADD CONSTRAINT ck_counters_no_single CHECK (counter NOT LIKE 'seat\\:%')")


def downgrade() -> None:
    """Drop the table. With a booking of a single, this fails: nothing would keep it from being sold again."""
    lock_tables(op.get_bind(), "counters", "seats")
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE seats ADD CONSTRAINT ck_going_back CHECK (false)")
    op.execute("DROP TABLE seats")
    op.execute("ALTER TABLE counters DROP CONSTRAINT ck_counters_no_single")
