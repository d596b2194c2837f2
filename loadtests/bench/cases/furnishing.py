"""Data of a stack that has run for years: events on sale, bookings, records in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import UUID

from msgspec import Struct

from domain.accounts.accounts import Role
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import random_booking_id
from domain.store.redis.keys import record_key
from ops.evidence.bulk import event_on_sale, mint, write_events
from ops.evidence.servers import postgres_of

if TYPE_CHECKING:
    from redis import Redis

    from domain.platform.settings import Settings
    from domain.sales.events import Event

CAPACITY = 1_000_000

RECORD_MS = 3_600_000
"""Lifetime of a copied record: longer than any bench."""

BATCH = 1_000

GUESTS_SHARE = 10
"""One in this many bookings is for the first event, which has the long guest list."""

EVENTS_SOLD = 100

ATTENDEES = """
    INSERT INTO accounts (id, email, email_key, password_hash, role, status, token_epoch, created_at)
    SELECT gen_random_uuid(), 'user-' || n || '@example.org', 'user-' || n || '@example.org', 'nobody logs in',
           'attendee', 'active', 1, now() - n * interval '1 second'
    FROM generate_series(1, $1::int) AS n
"""
"""Writes `$1` attendees."""

_BOOKINGS = """
    WITH buyers AS (SELECT array_agg(id) AS ids FROM accounts WHERE email LIKE 'user-%')
    INSERT INTO bookings (id, event_id, user_id, quantity, status, version, created_at, confirmed_at, claims)
    SELECT gen_random_uuid(),
           CASE WHEN n % $3 = 0 THEN ($2::uuid[])[1] ELSE ($2::uuid[])[2 + n % (cardinality($2::uuid[]) - 1)] END,
           ids[1 + (n / $3) % cardinality(ids)], 1, 'confirmed', 1,
           now() - n * interval '1 second', now() - n * interval '1 second', 'user:@=1 ' || $4 || '=1'
    FROM buyers, generate_series(1, $1::int) AS n
"""

TAKEN = """
    UPDATE counters SET taken = sold.tickets
    FROM (SELECT event_id, sum(quantity) AS tickets FROM bookings GROUP BY event_id) AS sold
    WHERE counters.event_id = sold.event_id AND counter = $1
"""
"""Makes the pools of counter `$1` agree with the bookings."""


async def furnish_events(settings: Settings, *, count: int) -> None:
    """Put `count` events on sale; the inventory reads them at its start."""
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    await write_events(settings, [_event(organizer.id) for _ in range(count)])


class Owner(Struct):
    """The organizer of the event with the long guest list; filled in by `furnish_bookings`."""

    event_id: UUID | None = None
    token: str = ""


async def furnish_bookings(settings: Settings, *, count: int, owner: Owner) -> None:
    """Sell `count` tickets, a tenth of them of the owner's event."""
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    events = [_event(organizer.id) for _ in range(EVENTS_SOLD)]
    owner.event_id, owner.token = events[0].id, organizer.token
    await write_events(settings, events)
    async with postgres_of(settings) as postgres:
        # Foreign keys need no check: every id comes from the table that it refers to. No trigger fills in claims.
        await postgres.execute("SET session_replication_role = replica")
        await postgres.execute(ATTENDEES, max(1, count // GUESTS_SHARE))
        await postgres.execute(_BOOKINGS, count, [event.id for event in events], GUESTS_SHARE, POOL_MAIN)
        await postgres.execute(TAKEN, POOL_MAIN)
        await postgres.execute("VACUUM ANALYZE")
        await postgres.execute("CHECKPOINT")


def furnish_records(redis: Redis, pattern: UUID, event_id: UUID, *, count: int) -> None:
    """Copy a booking's record `count` times, under ids that bookings of its event can have."""
    dump = cast("bytes", redis.dump(record_key(pattern)))
    for start in range(0, count, BATCH):
        with redis.pipeline(transaction=False) as pipeline:
            for _ in range(start, min(start + BATCH, count)):
                pipeline.restore(record_key(random_booking_id(event_id)), RECORD_MS, dump)
            pipeline.execute()


def _event(organizer_id: UUID) -> Event:
    return event_on_sale(organizer_id=organizer_id, title="An event among many", capacity=CAPACITY, max_per_user=100)
