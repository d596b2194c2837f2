"""What Redis and PostgreSQL hold of some events, read past the engine, and where the two differ."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
from msgspec import Struct
from redis.exceptions import RedisError

from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.sales.events import ROOM
from domain.store.redis.keys import counters_key, unpersisted_key
from ops.evidence.money import BookingMoney, read_money
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

NO_COUNTERS = re.compile(r"(terms|clock|mends|refilling|reopening|gates|size:.*)\Z")
"""The fields of an event's hash that are not counters: its terms in force, the sizes of its counters and so on."""

SINGLE = "seat:"
"""The prefix of counters of one unit. PostgreSQL has a row for each that a booking holds."""

HOLDING = frozenset({"held", "pending", "confirmed"})
"""The statuses in which a booking holds tickets."""

HeldUnits = defaultdict[UUID, Counter[str]]
"""What bookings claim, by event and counter."""


class StoredBooking(Struct, frozen=True, kw_only=True):
    """A booking as a row of PostgreSQL or as a record of Redis."""

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: str
    claims: dict[str, int]
    version: int = 1
    reason: str | None = None
    overdue: bool = False
    """Whether it is held though its deadline has passed."""


class CountedRow(Struct, frozen=True):
    """A counter as PostgreSQL has it."""

    size: int
    taken: int


class EventCounts(Struct, frozen=True, kw_only=True):
    """The counts of an event: its terms and the rows of its counters in PostgreSQL, its counters in Redis.

    `seats` are the bookings that PostgreSQL has in the row of each single.
    """

    event_id: UUID
    capacity: int
    max_per_user: int
    rows: dict[str, CountedRow]
    counters: dict[str, int]
    seats: dict[str, UUID] = {}
    closed: bool = False

    @property
    def taken(self) -> int:
        """Tickets that are taken, by Redis' count."""
        return self.counters.get(ROOM, 0)

    @property
    def row(self) -> CountedRow:
        """The counter of tickets in PostgreSQL."""
        return self.rows[ROOM]


class Snapshot(Struct, frozen=True, kw_only=True, dict=True):
    """What both servers hold of some events.

    `records` are those of the current epoch. `unpersisted` are the bookings whose newest version is not in PostgreSQL.
    `intents` is the number of rows in `intents` that `bookings` does not have, `money` that of bookings with payments.
    """

    events: list[EventCounts]
    rows: dict[UUID, StoredBooking]
    records: dict[UUID, StoredBooking] = {}
    unpersisted: frozenset[UUID] = frozenset()
    intents: int = 0
    money: list[BookingMoney] = []

    @cached_property
    def confirmed(self) -> HeldUnits:
        """What confirmed rows and holds claim."""
        return held_by(self.rows.values())

    @cached_property
    def in_force(self) -> HeldUnits:
        """What bookings claim. A record is newer than its row, or the same."""
        return held_by((self.rows | self.records).values())

    def sold(self, event: EventCounts) -> int:
        """Tickets of an event in confirmed rows."""
        return self.confirmed[event.event_id][ROOM]

    def differences(self) -> list[str]:
        """Every count that is not what the bookings add up to, at any moment at which nothing is written."""
        return [
            *self.counter_differences(self.in_force),
            *self.row_differences(),
            *self.record_differences(),
            *self.oversales(),
            *self.money_differences(),
        ]

    def counter_differences(self, held: HeldUnits) -> list[str]:
        """Counters in Redis that differ from `held`. A closed event has no counters."""
        found = []
        for event in self.events:
            expected = Counter() if event.closed else held[event.event_id]
            found += [
                f"{event.event_id}: Redis counts {event.counters.get(name, 0)} of {name}, not {expected[name]}"
                for name in sorted(event.counters.keys() | expected.keys())
                if event.counters.get(name, 0) != expected[name]
            ]
        return found

    def row_differences(self) -> list[str]:
        """Counters in PostgreSQL that differ from what confirmed rows claim, or in size from their event."""
        return self.seat_differences() + [
            f"{event.event_id}: the row of {name} counts {row.taken} of {row.size}, the bookings {claimed} of {size}"
            for event in self.events
            for name, row in event.rows.items()
            for claimed, size in [(self.confirmed[event.event_id][name], _size(event, name, row))]
            if (row.taken, row.size) != (claimed, size)
        ]

    def seat_differences(self) -> list[str]:
        """Singles whose rows in PostgreSQL are not those of the bookings that hold them."""
        claimed = {
            (row.event_id, name, booking)
            for booking, row in self.rows.items()
            if row.status in HOLDING
            for name, units in row.claims.items()
            if units and is_single(name)
        }
        placed = {(event.event_id, name, booking) for event in self.events for name, booking in event.seats.items()}
        stray = [f"{event}: {name} is in a row of {booking}" for event, name, booking in placed - claimed]
        return stray + [f"{event}: {name} is in no row of {booking}" for event, name, booking in claimed - placed]

    def record_differences(self) -> list[str]:
        """Records of persisted bookings that differ from their rows in status, version, owner, quantity or claims."""
        settled = {booking: record for booking, record in self.records.items() if booking not in self.unpersisted}
        return [
            f"booking {booking} is {_said(record)} in Redis, {_said(self.rows.get(booking))} in PostgreSQL"
            for booking, record in settled.items()
            if _facts(record) != _facts(self.rows.get(booking))
        ]

    def money_differences(self) -> list[str]:
        """Bookings whose money does not add up."""
        return [str(money) for money in self.money if not money.adds_up]

    def oversales(self) -> list[str]:
        """Counters of which bookings claim more than there is."""
        return [
            f"{event.event_id}: {held} of {size} units of {name} are sold"
            for event in self.events
            for name, held in self.in_force[event.event_id].items()
            for size in [_size_if_known(event, name)]
            if size is not None and held > size
        ]


def _size(event: EventCounts, name: str, row: CountedRow) -> int:
    """The size that a counter must have. That of tickets is the capacity of the event."""
    return event.capacity if name == ROOM else row.size


def _size_if_known(event: EventCounts, name: str) -> int | None:
    """The size of a single or of a counter of the event; None of a counter of an account."""
    if is_single(name):
        return 1
    return _size(event, name, event.rows[name]) if name in event.rows else None


def is_single(counter: str) -> bool:
    """Whether there is one unit of a counter, by its name."""
    return counter.startswith(SINGLE)


def held_by(bookings: Iterable[StoredBooking]) -> HeldUnits:
    """What these bookings claim while they hold it."""
    held: HeldUnits = defaultdict(Counter)
    for booking in bookings:
        if booking.status in HOLDING:
            held[booking.event_id].update(booking.claims)
    return held


def claims_of(text: str, user_id: UUID) -> dict[str, int]:
    """The claims in a row or a record; a row has @ for the account."""
    pairs = (claim.rpartition("=") for claim in text.replace("@", user_id.hex).split())
    return {counter: int(quantity) for counter, _, quantity in pairs}


async def read_snapshot(
    redis: Redis, postgres: asyncpg.Connection, event_ids: Collection[UUID] | None = None
) -> Snapshot:
    """Read these events, or all. The reading is consistent if nothing is written meanwhile."""
    async with postgres.transaction(isolation="repeatable_read", readonly=True):
        epoch = await postgres.fetchval("SELECT epoch FROM inventory_epoch")
        ids = list(event_ids) if event_ids is not None else [row[0] for row in await postgres.fetch(_EVENT_IDS)]
        events = await postgres.fetch(_EVENTS, ids)
        rows = [_row(row) for row in await postgres.fetch(_ROWS, ids)]
        counters = await postgres.fetch(_COUNTERS, ids)
        seats = await postgres.fetch(_SEATS, ids)
        intents = await postgres.fetchval(_INTENTS_LEFT, ids)
        money = await read_money(postgres, ids)
    records = await _read_records(redis, set(ids), epoch=epoch)
    return Snapshot(
        events=[
            EventCounts(
                **event,
                counters=await read_counters(redis, event["event_id"]),
                rows={
                    row["counter"]: CountedRow(row["size"], row["taken"])
                    for row in counters
                    if row["event_id"] == event["event_id"]
                },
                seats={row["counter"]: row["booking_id"] for row in seats if row["event_id"] == event["event_id"]},
            )
            for event in events
        ],
        rows={row.id: row for row in rows},
        records={record.id: record for record in records},
        unpersisted=await read_unpersisted(redis, ids),
        intents=intents,
        money=money,
    )


async def read_counters(redis: Redis, event_id: UUID) -> dict[str, int]:
    """How much is taken of each counter of an event; counters of 0 are left out."""
    fields = await redis.hgetall(counters_key(event_id))  # type: ignore[misc]  # the client's types name both kinds
    counts = {name.decode(): value for name, value in fields.items()}
    return {name: int(value) for name, value in counts.items() if not NO_COUNTERS.match(name) and int(value)}


async def read_unpersisted(redis: Redis, event_ids: Collection[UUID] | None = None) -> frozenset[UUID]:
    """The bookings in the unpersisted sets of the partitions of these events, or of all."""
    every = range(PARTITIONS) if event_ids is None else sorted({partition_of_event(each) for each in event_ids})
    pipeline = redis.pipeline(transaction=False)
    for partition in every:
        pipeline.zrange(unpersisted_key(partition), 0, -1)
    return frozenset(UUID(name.decode()) for names in await pipeline.execute() for name in names)


async def wait_until_final(
    settings: Settings,
    event_ids: Collection[UUID],
    accepted: Collection[UUID],
    *,
    seconds_max: float,
    holds: bool = False,
) -> float | None:
    """Wait until nothing is left to persist and every accepted booking has a row; None if that takes too long.

    With `holds`, also wait until every hold has ended and every payment is decided. Returns the seconds. A server that
    is away is asked again.
    """
    clock = asyncio.get_running_loop().time
    began_s = clock()
    while clock() - began_s < seconds_max:
        try:
            async with asyncio.timeout(ANSWER_SECONDS_MAX):
                left = await _read_left(settings, event_ids, accepted, holds=holds)
        except UNREACHABLE:
            left = 1
        if not left:
            return round(clock() - began_s, 3)
        await asyncio.sleep(LOOK_SECONDS)
    return None


async def _read_left(
    settings: Settings, event_ids: Collection[UUID], accepted: Collection[UUID], *, holds: bool
) -> int:
    """The number of bookings and intents that PostgreSQL does not have, and with `holds` of holds."""
    async with redis_of(settings) as redis:
        unpersisted = await read_unpersisted(redis, event_ids)
    async with postgres_of(settings) as postgres:
        missing = await postgres.fetchval(_MISSING, list(accepted))
        intents = await postgres.fetchval(_INTENTS_LEFT, list(event_ids))
        held = await postgres.fetchval(_HOLDS_LEFT, list(event_ids)) if holds else 0
        undecided = sum(money.undecided for money in await read_money(postgres, event_ids)) if holds else 0
    return len(unpersisted) + int(missing) + int(intents) + int(held) + undecided


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


def _row(row: Mapping[str, Any]) -> StoredBooking:
    fields = dict(row)
    return StoredBooking(**fields | {"claims": claims_of(fields["claims"], fields["user_id"])})


def _record(booking_id: UUID, fields: Mapping[str, str]) -> StoredBooking:
    return StoredBooking(
        id=booking_id,
        event_id=UUID(fields["event"]),
        user_id=UUID(fields["user"]),
        quantity=int(fields["quantity"]),
        status=fields["status"],
        claims=claims_of(fields["claims"], UUID(fields["user"])),
        version=int(fields["version"]),
    )


def _facts(booking: StoredBooking | None) -> tuple[object, ...]:
    """What a record and its row have in common."""
    if booking is None:
        return ()
    return (booking.event_id, booking.user_id, booking.quantity, booking.status, booking.version, booking.claims)


def _said(booking: StoredBooking | None) -> str:
    return f"{booking.status} (version {booking.version})" if booking else "missing"


_EVENT_IDS = "SELECT id FROM events"

_EVENTS = """
    SELECT id AS event_id, capacity, max_per_user, closed_at IS NOT NULL AS closed FROM events WHERE id = ANY($1)
"""

_COUNTERS = "SELECT event_id, counter, size, taken FROM counters WHERE event_id = ANY($1)"

_SEATS = "SELECT event_id, counter, booking_id FROM seats WHERE event_id = ANY($1)"

_ROWS = """
    SELECT id, event_id, user_id, quantity, status, version, reason, claims,
           status = 'held' AND due_at < now() AS overdue
    FROM bookings WHERE event_id = ANY($1)
"""

_MISSING = """
    SELECT count(*) FROM unnest($1::uuid[]) AS accepted (id)
    WHERE NOT EXISTS (SELECT FROM bookings WHERE bookings.id = accepted.id)
"""

_HOLDS_LEFT = """
    SELECT count(*) FROM bookings
    WHERE event_id = ANY($1) AND status = 'held' AND due_at < now() + interval '10 seconds'
"""
"""Holds that expire soon. After a step of Redis' clock, a deadline may be minutes away."""

_INTENTS_LEFT = """
    SELECT count(*) FROM intents WHERE event_id = ANY($1) AND NOT EXISTS (
        SELECT FROM bookings WHERE bookings.id = intents.id AND bookings.version >= intents.version
    )
"""
