"""The reads and repairs of reconciliation, in Redis and PostgreSQL.

The counters in Redis are a copy that can be computed again from bookings. A repair changes only what two readings
agreed on.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct
from sqlalchemy import and_, bindparam, delete, func, insert, or_, select, true, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import Uuid

from domain.kernel.claims import is_single
from domain.kernel.differences import Counted, CounterBooks, CounterRow, StoredBooks
from domain.kernel.partitions import partition_of_booking, partition_of_event
from domain.kernel.times import from_ms
from domain.store.postgres.epochs import IDLE_MS_MAX
from domain.store.postgres.events.reads import FIND_EVENT
from domain.store.postgres.events.rows import EVENT_FIELDS, read_event
from domain.store.postgres.holdings import read_holdings
from domain.store.postgres.ledger import BOOKING_COLUMNS, read_booking
from domain.store.postgres.seats import place_single, read_misplaced
from domain.store.postgres.tables import bookings, counters, events, repairs
from domain.store.redis.keys import counters_key, due_key, epoch_key, mine_key, record_key, unpersisted_key
from domain.store.redis.records import RETIRE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.kernel.bookings import Booking
    from domain.kernel.differences import Difference
    from domain.store.postgres.database import Database
    from domain.store.redis.scripts import Scripts

COUNTERS_PER_PAGE = 1_000
"""Counters that one script call reads, in well under a millisecond of Redis' time."""

FACTS = frozenset({"terms", "clock", "mends", "refilling", "reopening", "gates"})
"""The fields of an event's hash that are not counters: the terms in force, the latest time that the event has recorded,
the number of repairs, the refilling or opening under way, and the gates. SIZE_PREFIX begins the others."""

SIZE_PREFIX = "size:"
"""The prefix of the field with a counter's size."""

MEND_AGE_MS_MAX = 10_000
"""The maximum age of the readings that a counter is corrected by. A pass with many repairs takes seconds, not more."""

RECORDS_PER_SCAN = 1_000
RECORD_PREFIX = b":booking:"

LASTING = -1
"""Redis' answer for a key without a lifetime."""


class OrphanPage(Struct, frozen=True):
    """Records without a lifetime that are not in the unpersisted set, and the next cursor; 0 at the end.

    `outdated` are those of an earlier epoch. They count nothing, and are no difference.
    """

    cursor: int
    orphans: list[UUID]
    outdated: list[UUID]


class Books:
    """Reads and repairs of reconciliation."""

    def __init__(self, database: Database, scripts: Scripts) -> None:
        self._database = database
        self._scripts = scripts
        self._pipeline = scripts.pipeline

    async def counters(self, event_id: UUID) -> CounterBooks:
        """An event's counters in pages, each page read at one instant (read_counters.lua)."""
        keys = [epoch_key(partition_of_event(event_id)), counters_key(event_id)]
        pages: list[Counted] = []
        facts: dict[str, str] = {}
        ahead_ms = 0
        cursor = b"0"
        while True:
            answer = await self._scripts.call("read_counters", keys, [cursor, COUNTERS_PER_PAGE])
            fields = {name.decode(): value for name, value in zip(answer[3][::2], answer[3][1::2], strict=True)}
            facts |= {name: value.decode() for name, value in fields.items() if _is_fact(name)}
            pages.append(Counted(int(answer[1]), {name: int(fields[name]) for name in fields.keys() - facts.keys()}))
            ahead_ms = max(ahead_ms, int(answer[4]))
            cursor = answer[2]
            if cursor == b"0":
                break
        sizes = {
            name.removeprefix(SIZE_PREFIX): int(size) for name, size in facts.items() if name.startswith(SIZE_PREFIX)
        }
        return CounterBooks(facts.get("terms"), sizes, int(facts.get("mends", 0)), pages, ahead_ms)

    async def stored(
        self, event_ids: Sequence[UUID], *, since_ms: int, unpersisted: Sequence[UUID]
    ) -> dict[UUID, StoredBooks]:
        """The events in one snapshot, with their bookings that changed since `since_ms` or are in `unpersisted`."""
        async with self._database.snapshot() as connection:
            held = await _held(connection, event_ids)
            moving = await _moving(connection, event_ids, from_ms(since_ms), unpersisted)
            rows = await _rows(connection, event_ids)
            found = (await connection.execute(select(*EVENT_FIELDS).where(events.c.id.in_(event_ids)))).all()
            return {
                event.id: StoredBooks(
                    event_id=event.id,
                    terms=event.terms_token,
                    sizes=event.sizes,
                    rows=rows[event.id],
                    held=held[event.id],
                    moving=moving[event.id],
                    closed=event.closed_at is not None,
                )
                for event in map(read_event, found)
            }

    async def mend(self, difference: Difference, *, mends: int, read_ms: int) -> bool:
        """Correct a counter by its drift (mend_counter.lua); it was read before `read_ms` on Redis' clock.

        False when another pass has corrected it, or when that clock was set since.
        """
        keys = [epoch_key(partition_of_event(difference.event_id)), counters_key(difference.event_id)]
        args = [difference.subject, -difference.drift, mends, read_ms, MEND_AGE_MS_MAX]
        answer = await self._scripts.call("mend_counter", keys, args)
        return bool(answer[0] == b"mended")

    async def recount_row(self, event_id: UUID, counter: str) -> bool:
        """Set a counter's row in PostgreSQL to the sum of its bookings and to the size that the event gives it.

        False when the bookings claim more than that.
        """
        if is_single(counter):
            return await self._place_single(event_id, counter)
        key = and_(counters.c.event_id == event_id, counters.c.counter == counter)
        try:
            async with self._database.begin() as connection:
                await connection.execute(_BE_BRIEF)
                await connection.execute(select(counters.c.taken).where(key).with_for_update())
                event = read_event((await connection.execute(FIND_EVENT, {"event_id": event_id})).one())
                held = (await _held(connection, [event_id]))[event_id]
                values = {"taken": held.get(counter, 0), "size": event.sizes[counter]}
                await connection.execute(update(counters).where(key).values(values))
        except IntegrityError:
            return False
        return True

    async def _place_single(self, event_id: UUID, counter: str) -> bool:
        try:
            async with self._database.begin() as connection:
                await connection.execute(_BE_BRIEF)
                await place_single(connection, event_id, counter)
        except IntegrityError:
            return False
        return True

    async def orphans(self, cursor: int) -> OrphanPage:
        """Search some of Redis' records for those that would never be persisted and never expire."""
        next_cursor, names = await self._pipeline.call(
            "SCAN", cursor, "MATCH", "{p*}:booking:*", "COUNT", RECORDS_PER_SCAN
        )
        # Concurrent calls share one round trip. Nearly all records have a lifetime and need no second check.
        lifetimes = await asyncio.gather(*(self._pipeline.call("PTTL", name) for name in names))
        lasting = [
            UUID(name.split(RECORD_PREFIX)[1].decode())
            for name, lifetime in zip(names, lifetimes, strict=True)
            if lifetime == LASTING
        ]
        verdicts = await asyncio.gather(*(self._is_orphan(booking_id) for booking_id in lasting))
        epochs = await asyncio.gather(*(self._pipeline.call("HGET", record_key(each), "epoch") for each in lasting))
        found = [(each, epoch) for each, epoch, is_one in zip(lasting, epochs, verdicts, strict=True) if is_one]
        current = str(self._scripts.epoch).encode()
        return OrphanPage(
            int(next_cursor),
            orphans=[each for each, epoch in found if epoch == current],
            outdated=[each for each, epoch in found if epoch != current],
        )

    async def _is_orphan(self, booking_id: UUID) -> bool:
        """Whether a record is not in the unpersisted set and has no lifetime; that of a hold lasts until its deadline.

        The order matters: a hold that expires after its status was read is found in the unpersisted set, and what is
        settled after that has a lifetime.
        """
        listed, key = unpersisted_key(partition_of_booking(booking_id) or 0), record_key(booking_id)
        event = await self._pipeline.call("HGET", key, "event")
        if event is None:
            return False
        status, due, score, lifetime = await asyncio.gather(
            self._pipeline.call("HGET", key, "status"),
            self._pipeline.call("ZSCORE", _due(event), str(booking_id)),
            self._pipeline.call("ZSCORE", listed, str(booking_id)),
            self._pipeline.call("PTTL", key),
        )
        held = status == b"held" and due is not None
        return score is None and lifetime == LASTING and not held

    async def relist(self, booking_id: UUID) -> bool:
        """List an orphan as unpersisted (relist_booking.lua); False when it is not an orphan any more.

        A hold of an earlier epoch gets a lifetime instead.
        """
        partition = partition_of_booking(booking_id) or 0
        user, event = await self._pipeline.call("HMGET", record_key(booking_id), "user", "event")
        if user is None:
            return False
        event_id = UUID(event.decode())
        keys = [
            epoch_key(partition),
            record_key(booking_id),
            unpersisted_key(partition),
            mine_key(partition, UUID(user.decode())),
            counters_key(event_id),
            due_key(event_id),
        ]
        answer = await self._scripts.call("relist_booking", keys, [str(booking_id), RETIRE_MS])
        return bool(answer[0] == b"relisted")

    async def record(self, difference: Difference, *, at: datetime, done: bool) -> None:
        """Store a difference and whether it was repaired."""
        row = {
            "at": at,
            "event_id": difference.event_id,
            "fault": difference.fault,
            "subject": difference.subject,
            "found": difference.found,
            "expected": difference.expected,
            "repair": difference.repair,
            "done": done,
        }
        async with self._database.begin() as connection:
            await connection.execute(insert(repairs).values(row))

    async def open_drift(self, *, since: datetime) -> int:
        """The number of tickets by which counts have differed since then without being repaired."""
        drift = func.abs(repairs.c.found - repairs.c.expected)
        latest = (
            select(repairs.c.event_id, repairs.c.subject, func.max(drift).label("drift"))
            .where(repairs.c.at >= since, ~repairs.c.done)
            .group_by(repairs.c.event_id, repairs.c.subject)
            .subquery()
        )
        async with self._database.connect() as connection:
            return int((await connection.execute(select(func.coalesce(func.sum(latest.c.drift), 0)))).scalar_one())

    async def repairs_by_fault(self) -> dict[tuple[str, bool], int]:
        """The number of differences of each kind within their retention, by whether they were repaired."""
        statement = select(repairs.c.fault, repairs.c.done, func.count()).group_by(repairs.c.fault, repairs.c.done)
        async with self._database.connect() as connection:
            return {(fault, done): int(number) for fault, done, number in await connection.execute(statement)}

    async def delete_repairs(self, *, kept: timedelta, limit: int) -> int:
        """Delete repairs that are older than `kept`, at most `limit` of them; returns how many.

        Only the first `limit` repairs are examined, because ids grow with time.
        """
        first = select(repairs.c.id).order_by(repairs.c.id).limit(limit)
        statement = delete(repairs).where(repairs.c.id.in_(first), repairs.c.at < func.now() - kept)
        async with self._database.statement() as connection:
            return (await connection.execute(statement)).rowcount


_BE_BRIEF = select(func.set_config("idle_in_transaction_session_timeout", str(IDLE_MS_MAX), true()))
"""Ends the transaction if this process is frozen while it holds a counter."""


def _due(event: bytes) -> str:
    return due_key(UUID(event.decode()))


def _is_fact(name: str) -> bool:
    return name in FACTS or name.startswith(SIZE_PREFIX)


async def _rows(connection: AsyncConnection, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, CounterRow]]:
    found: dict[UUID, dict[str, CounterRow]] = defaultdict(dict)
    for row in await connection.execute(select(counters).where(counters.c.event_id.in_(event_ids))):
        found[row.event_id][row.counter] = CounterRow(row.size, row.taken)
    for event_id, singles in (await read_misplaced(connection, event_ids)).items():
        found[event_id] |= {counter: CounterRow(single.size, single.counted) for counter, single in singles.items()}
    return found


async def _held(connection: AsyncConnection, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, int]]:
    held: dict[UUID, dict[str, int]] = defaultdict(dict)
    for event_id, chunks in (await read_holdings(connection, event_ids, counters_max=COUNTERS_PER_PAGE)).items():
        for chunk in chunks:
            held[event_id].update(zip(map(str, chunk[::2]), map(int, chunk[1::2]), strict=True))
    return held


async def _moving(
    connection: AsyncConnection, event_ids: Sequence[UUID], since: datetime, unpersisted: Sequence[UUID]
) -> dict[UUID, dict[UUID, Booking]]:
    listed = bookings.c.id == func.any(bindparam("ids", list(unpersisted), type_=ARRAY(Uuid)))
    recent = and_(
        bookings.c.event_id.in_(event_ids),
        or_(bookings.c.created_at >= since, bookings.c.cancelled_at >= since, bookings.c.taken_at >= since),
    )
    moving: dict[UUID, dict[UUID, Booking]] = defaultdict(dict)
    for row in await connection.execute(select(*BOOKING_COLUMNS).where(or_(recent, listed))):
        moving[row.event_id][row.id] = read_booking(row)
    return moving
