"""The tables for SQLAlchemy Core. The migrations create them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    FetchedValue,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    literal_column,
)
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, JSONB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

metadata = MetaData()

inventory_epoch = Table(
    "inventory_epoch",
    metadata,
    Column("one", Boolean, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("deployment", Uuid, nullable=False),
    Column("layout", Integer, nullable=False),
    Column("server", Text),
    Column("server_epoch", BigInteger),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("email", Text, nullable=False),
    Column("email_key", Text, nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("token_epoch", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("follow_up_since", DateTime(timezone=True)),
    Column("follow_up_at", DateTime(timezone=True)),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", Uuid, nullable=False),
    Column("refresh_hash", BYTEA, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("revoked_at", DateTime(timezone=True)),
    Column("rotated_at", DateTime(timezone=True)),
)

events = Table(
    "events",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("organizer_id", Uuid, nullable=False),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("title_folded", Text, FetchedValue(), nullable=False),
    Column("location_folded", Text, FetchedValue(), nullable=False),
    Column("starts_at", DateTime(timezone=True), nullable=False),
    Column("ends_at", DateTime(timezone=True)),
    Column("capacity", Integer, nullable=False),
    Column("max_per_user", Integer, nullable=False),
    Column("sales_open_at", DateTime(timezone=True)),
    Column("sales_close_at", DateTime(timezone=True)),
    Column("paused", Boolean, nullable=False),
    Column("paused_by_organizer", Boolean),
    Column("cancelled_at", DateTime(timezone=True)),
    Column("cleared_at", DateTime(timezone=True)),
    Column("partition", SmallInteger, nullable=False),
    Column("version", Integer, nullable=False),
    Column("terms_token", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("time_zone", Text, nullable=False),
    Column("starts_at_local", DateTime),
    Column("currency", Text),
    Column("hold_seconds", Integer, nullable=False),
    Column("hold_extend_until_seconds", Integer),
    Column("max_holds_per_user", Integer, nullable=False),
    Column("payment", Text, nullable=False),
    Column("refund_on_owner_cancel", Text, nullable=False),
    Column("series_id", Uuid),
    Column("typed", Boolean, nullable=False),
)
_OVER_AT = "coalesce(events.ends_at, timezone('UTC', timezone('UTC', events.starts_at) + interval '24 hours'))"

EVENT_OVER_AT: ColumnElement[datetime] = literal_column(_OVER_AT, DateTime(timezone=True))
"""The end of an event as in `domain.sales.events`, in the same expression as PostgreSQL's index."""

EVENT_SPAN: ColumnElement[object] = literal_column(
    f"tstzrange(events.starts_at, greatest(events.starts_at, {_OVER_AT}))"
)
"""The time from the start of an event to its end, in the same expression as `ix_events_running`."""


counters = Table(
    "counters",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("counter", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("taken", Integer, nullable=False),
    Column("gate", Text),
)

seats = Table(
    "seats",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("counter", Text, primary_key=True),
    Column("booking_id", Uuid, nullable=False),
)


ticket_pools = Table(
    "ticket_pools",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent_id", Uuid),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
)

ticket_types = Table(
    "ticket_types",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("pools", ARRAY(Uuid), nullable=False),
    Column("weight", Integer, nullable=False),
    Column("takes_room", Boolean, nullable=False),
    Column("counts_for_max_per_user", Boolean, nullable=False),
    Column("requires_type_id", Uuid),
    Column("min_per_booking", Integer, nullable=False),
    Column("max_per_booking", Integer, nullable=False),
    Column("max_per_user", Integer),
    Column("sales_open_at", DateTime(timezone=True)),
    Column("sales_close_at", DateTime(timezone=True)),
    Column("hidden", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("archived_at", DateTime(timezone=True)),
)

promo_codes = Table(
    "promo_codes",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("code", Text, nullable=False),
    Column("code_key", Text, nullable=False),
    Column("max_uses", Integer),
    Column("max_uses_per_user", Integer),
    Column("percent_off", Integer),
    Column("amount_off_minor", BigInteger),
    Column("ticket_type_ids", ARRAY(Uuid)),
    Column("valid_from", DateTime(timezone=True)),
    Column("valid_until", DateTime(timezone=True)),
    Column("unlocks_hidden", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("archived_at", DateTime(timezone=True)),
)


def _of_the_order() -> Iterator[Column[Any]]:
    """Columns of both bookings and intents: what a booking claims, its order and its deadline."""
    yield Column("claims", Text)
    yield Column("fingerprint", Text)
    # Without `none_as_null`, a booking without a body would get one, the JSON value null.
    yield Column("body", JSONB(none_as_null=True))
    yield Column("amount_minor", BigInteger)
    yield Column("currency", Text)
    yield Column("due_at", DateTime(timezone=True))
    yield Column("taken_at", DateTime(timezone=True))


bookings = Table(
    "bookings",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("confirmed_at", DateTime(timezone=True)),
    Column("cancelled_at", DateTime(timezone=True)),
    Column("reason", Text),
    *_of_the_order(),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("actor_id", Uuid),
    Column("action", Text, nullable=False),
    Column("target_id", Uuid),
    Column("detail", JSONB, nullable=False),
)

repairs = Table(
    "repairs",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("fault", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("found", Integer, nullable=False),
    Column("expected", Integer, nullable=False),
    Column("repair", Text, nullable=False),
    Column("done", Boolean, nullable=False),
)

rebuild_lease = Table(
    "rebuild_lease",
    metadata,
    Column("one", Boolean, primary_key=True),
    Column("holder", Uuid, nullable=False),
    Column("until", DateTime(timezone=True), nullable=False),
)

intents = Table(
    "intents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("user_id", Uuid, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("cancelled_at", DateTime(timezone=True)),
    Column("reason", Text),
    *_of_the_order(),
)

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("reference", Text, nullable=False),
    Column("booking_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("returned_minor", BigInteger, nullable=False),
    Column("kept_minor", BigInteger, nullable=False),
    Column("cause", Text),
    Column("owner_refund", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("next_at", DateTime(timezone=True), nullable=False),
)

refunds = Table(
    "refunds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("payment_id", Uuid, nullable=False),
    Column("booking_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("provider", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("booking_version", Integer, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("reference", Text),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("next_at", DateTime(timezone=True), nullable=False),
    Column("done_at", DateTime(timezone=True)),
)

payment_intents = Table(
    "payment_intents",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("provider", Text, nullable=False),
    Column("reference", Text),
    Column("booking_id", Uuid, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("next_at", DateTime(timezone=True), nullable=False),
)

payment_checks = Table(
    "payment_checks",
    metadata,
    Column("booking_id", Uuid, primary_key=True),
    Column("version", Integer, primary_key=True),
)
