"""What Redis and PostgreSQL hold of some events, read past the engine, and where the two differ."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
from msgspec import Struct
from redis.exceptions import RedisError

from domain.kernel.counters import POOL_MAIN, USER_PREFIX, user_counter
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.store.redis.keys import counters_key, unpersisted_key
from ops.evidence.servers import ANSWER_SECONDS_MAX, postgres_of, redis_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from redis.asyncio import Redis

    from domain.platform.settings import Settings

LOOK_SECONDS = 0.05
"""The pause between two looks at what is left to persist."""

UNREACHABLE = (
    *(RedisError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
    *(OSError, TimeoutError),
)
"""Errors of clients whose server is away."""

RECORDS_PER_SCAN = 1_000

COUNTER_PREFIXES = ("pool:", USER_PREFIX)
"""The hash of an event's counters has other fields too, such as its terms in force."""

HOLDING = frozenset({"pending", "confirmed"})
"""The statuses in which a booking holds tickets."""

HeldTickets = defaultdict[UUID, Counter[str]]
"""Tickets by event and counter."""


class StoredBooking(Struct, frozen=True, kw_only=True):
    """A booking as a row of PostgreSQL or as a record of Redis."""

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: str
    version: int = 1
    reason: str | None = None


class EventCounts(Struct, frozen=True, kw_only=True):
    """The counts of an event: its terms and its pool in PostgreSQL, its counters in Redis."""

    event_id: UUID
    capacity: int
    max_per_user: int
    pool_size: int
    pool_taken: int
    counters: dict[str, int]
    closed: bool = False

    @property
    def taken(self) -> int:
        """Tickets that are taken, by Redis' count."""
        return self.counters.get(POOL_MAIN, 0)


class Snapshot(Struct, frozen=True, kw_only=True, dict=True):
    """What both servers hold of some events.

    `records` are those of the current epoch. `unpersisted` are the bookings whose newest version is not in PostgreSQL.
    `intents` is the number of rows in `intents` that `bookings` does not have.
    """

    events: list[EventCounts]
    rows: dict[UUID, StoredBooking]
    records: dict[UUID, StoredBooking] = {}
    unpersisted: frozenset[UUID] = frozenset()
    intents: int = 0

    @cached_property
    def confirmed(self) -> HeldTickets:
        """Tickets of confirmed rows."""
        return held_by(row for row in self.rows.values() if row.status == "confirmed")

    @cached_property
    def in_force(self) -> HeldTickets:
        """Tickets that bookings hold. A record is newer than its row, or the same."""
        return held_by((self.rows | self.records).values())

    def sold(self, event: EventCounts) -> int:
        """Tickets of an event in confirmed rows."""
        return self.confirmed[event.event_id][POOL_MAIN]

    def differences(self) -> list[str]:
        """Every count that is not what the bookings add up to, at any moment at which nothing is written."""
        return [
            *self.counter_differences(self.in_force),
            *self.pool_differences(),
            *self.record_differences(),
            *self.oversales(),
        ]

    def counter_differences(self, held: HeldTickets) -> list[str]:
        """Counters in Redis, of pools and accounts, that differ from `held`. A closed event has no counters."""
        found = []
        for event in self.events:
            expected = Counter() if event.closed else held[event.event_id]
            found += [
                f"{event.event_id}: Redis counts {event.counters.get(name, 0)} of {name}, not {expected[name]}"
                for name in sorted(event.counters.keys() | expected.keys())
                if event.counters.get(name, 0) != expected[name]
            ]
        return found

    def pool_differences(self) -> list[str]:
        """Pools in PostgreSQL that differ from the confirmed rows or from the capacity of their event."""
        return [
            f"{event.event_id}: the pool counts {event.pool_taken} of {event.pool_size} tickets,"
            f" the rows {self.sold(event)} of {event.capacity}"
            for event in self.events
            if (event.pool_taken, event.pool_size) != (self.sold(event), event.capacity)
        ]

    def record_differences(self) -> list[str]:
        """Records of persisted bookings that differ from their rows in status, version, owner or quantity."""
        settled = {booking: record for booking, record in self.records.items() if booking not in self.unpersisted}
        return [
            f"booking {booking} is {_said(record)} in Redis, {_said(self.rows.get(booking))} in PostgreSQL"
            for booking, record in settled.items()
            if _facts(record) != _facts(self.rows.get(booking))
        ]

    def oversales(self) -> list[str]:
        """Events whose bookings hold more tickets than there are."""
        held = {event.event_id: self.in_force[event.event_id][POOL_MAIN] for event in self.events}
        return [
            f"{event.event_id}: {held[event.event_id]} of {event.capacity} tickets are sold"
            for event in self.events
            if held[event.event_id] > event.capacity
        ]


def held_by(bookings: Iterable[StoredBooking]) -> HeldTickets:
    """Tickets that these bookings hold."""
    held: HeldTickets = defaultdict(Counter)
    for booking in bookings:
        if booking.status in HOLDING:
            for counter in (POOL_MAIN, user_counter(booking.user_id)):
                held[booking.event_id][counter] += booking.quantity
    return held


async def read_snapshot(
    redis: Redis, postgres: asyncpg.Connection, event_ids: Collection[UUID] | None = None
) -> Snapshot:
    """Read these events, or all. The reading is consistent if nothing is written meanwhile."""
    async with postgres.transaction(isolation="repeatable_read", readonly=True):
        epoch = await postgres.fetchval("SELECT epoch FROM inventory_epoch")
        ids = list(event_ids) if event_ids is not None else [row[0] for row in await postgres.fetch(_EVENT_IDS)]
        events = await postgres.fetch(_EVENTS, ids)
        rows = [StoredBooking(**row) for row in await postgres.fetch(_ROWS, ids)]
        intents = await postgres.fetchval(_INTENTS_LEFT, ids)
    records = await _read_records(redis, set(ids), epoch=epoch)
    return Snapshot(
        events=[EventCounts(**event, counters=await read_counters(redis, event["event_id"])) for event in events],
        rows={row.id: row for row in rows},
        records={record.id: record for record in records},
        unpersisted=await read_unpersisted(redis, ids),
        intents=intents,
    )


async def read_counters(redis: Redis, event_id: UUID) -> dict[str, int]:
    """How much is taken of each counter of an event; counters of 0 are left out."""
    fields = await redis.hgetall(counters_key(event_id))  # type: ignore[misc]  # the client's types name both kinds
    counts = {name.decode(): value for name, value in fields.items()}
    return {name: int(value) for name, value in counts.items() if name.startswith(COUNTER_PREFIXES) and int(value)}


async def read_unpersisted(redis: Redis, event_ids: Collection[UUID] | None = None) -> frozenset[UUID]:
    """The bookings in the unpersisted sets of the partitions of these events, or of all."""
    every = range(PARTITIONS) if event_ids is None else sorted({partition_of_event(each) for each in event_ids})
    pipeline = redis.pipeline(transaction=False)
    for partition in every:
        pipeline.zrange(unpersisted_key(partition), 0, -1)
    return frozenset(UUID(name.decode()) for names in await pipeline.execute() for name in names)


async def wait_until_final(
    settings: Settings, event_ids: Collection[UUID], accepted: Collection[UUID], *, seconds_max: float
) -> float | None:
    """Wait until nothing is left to persist and every accepted booking has a row; None if that takes too long.

    Returns the seconds. A server that is away is asked again.
    """
    clock = asyncio.get_running_loop().time
    began_s = clock()
    while clock() - began_s < seconds_max:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                left = await _read_left(settings, event_ids, accepted)
        except UNREACHABLE:
            left = 1
        if not left:
            return round(clock() - began_s, 3)
        await asyncio.sleep(LOOK_SECONDS)
    return None


async def _read_left(settings: Settings, event_ids: Collection[UUID], accepted: Collection[UUID]) -> int:
    """The number of bookings and intents that PostgreSQL does not have."""
    async with redis_of(settings) as redis:
        unpersisted = await read_unpersisted(redis, event_ids)
    async with postgres_of(settings) as postgres:
        missing = await postgres.fetchval(_MISSING, list(accepted))
        intents = await postgres.fetchval(_INTENTS_LEFT, list(event_ids))
    return len(unpersisted) + int(missing) + int(intents)


async def _read_records(redis: Redis, event_ids: set[UUID], *, epoch: int) -> list[StoredBooking]:
    """The records of the current epoch. Records of older epochs are ignored by the engine too."""
    names = [name async for name in redis.scan_iter("*:booking:*", count=RECORDS_PER_SCAN)]
    records = []
    for first in range(0, len(names), RECORDS_PER_SCAN):
        page = names[first : first + RECORDS_PER_SCAN]
        pipeline = redis.pipeline(transaction=False)
        for name in page:
            pipeline.hgetall(name)
        for name, answer in zip(page, await pipeline.execute(), strict=True):
            fields = {field.decode(): value.decode() for field, value in answer.items()}
            if fields.get("epoch") == str(epoch):
                records.append(_record(UUID(name.decode().rpartition(":")[2]), fields))
    return [record for record in records if record.event_id in event_ids]


def _record(booking_id: UUID, fields: Mapping[str, str]) -> StoredBooking:
    return StoredBooking(
        id=booking_id,
        event_id=UUID(fields["event"]),
        user_id=UUID(fields["user"]),
        quantity=int(fields["quantity"]),
        status=fields["status"],
        version=int(fields["version"]),
    )


def _facts(booking: StoredBooking | None) -> tuple[object, ...]:
    """What a record and its row have in common."""
    if booking is None:
        return ()
    return (booking.event_id, booking.user_id, booking.quantity, booking.status, booking.version)


def _said(booking: StoredBooking | None) -> str:
    return f"{booking.status} (version {booking.version})" if booking else "missing"


_EVENT_IDS = "SELECT event_id FROM pools"

_EVENTS = """
    SELECT events.id AS event_id, capacity, max_per_user, size AS pool_size, taken AS pool_taken,
        closed_at IS NOT NULL AS closed
    FROM events JOIN pools ON pools.event_id = events.id WHERE events.id = ANY($1)
"""

_ROWS = """
    SELECT id, event_id, user_id, quantity, status, version, reason FROM bookings WHERE event_id = ANY($1)
"""

_MISSING = """
    SELECT count(*) FROM unnest($1::uuid[]) AS accepted (id)
    WHERE NOT EXISTS (SELECT FROM bookings WHERE bookings.id = accepted.id)
"""

_INTENTS_LEFT = """
    SELECT count(*) FROM intents WHERE event_id = ANY($1) AND NOT EXISTS (
        SELECT FROM bookings WHERE bookings.id = intents.id AND bookings.version >= intents.version
    )
"""
