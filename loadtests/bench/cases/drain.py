"""Draining: how fast one worker writes a full backlog, beside bare inserts of the same rows."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import asyncpg
import uvloop
from msgspec import Struct

from domain.background.persisting import BATCH_MAX
from domain.engine import open_stores
from domain.kernel.bookings import TicketOrder
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import PersistenceLagging
from domain.store.redis.admission import Ask
from loadtests.bench.load.generator import Unexpected

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from domain.engine import Stores
    from domain.platform.settings import Settings
    from loadtests.bench.cases.cases import Bench
    from loadtests.bench.stack import Stack
    from ops.evidence.bulk import Minted

BACKLOG = 20_000
"""Accepted bookings that wait when the worker begins."""

FILLERS = 256
"""Bookings being made at once while the backlog is filled; they share round trips."""

FILL_SECONDS_MAX = 4.0
"""Into one partition: the engine refuses what would join a backlog older than five seconds."""

LOOK_SECONDS = 0.02

UNPERSISTED_MAX = 1_000_000

_ROWS = """
    SELECT id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at, reason
    FROM bookings WHERE event_id = ANY($1)
"""

_BARE_TABLE = """
    CREATE TABLE bare_bookings (LIKE bookings INCLUDING ALL);
    ALTER TABLE bare_bookings
        ADD FOREIGN KEY (event_id) REFERENCES events, ADD FOREIGN KEY (user_id) REFERENCES accounts
"""
"""All that `bookings` has: columns, checks, indexes, and foreign keys, which are not copied with the rest."""

_BARE_INSERT = """
    INSERT INTO bare_bookings
        (id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at, reason)
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::integer[],
        $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::text[]
    )
"""


class Drained(Struct, frozen=True):
    """One round: rows a second of the worker and of bare inserts, and CPU for one booking."""

    bookings: int
    persisted_per_second: float
    bare_per_second: float
    cpu_ms: dict[str, float]


def measure_drain(bench: Bench, *, backlog: int) -> Drained:
    """Fill a backlog while the workers stand still, let them drain it, and insert the same rows once more, bare."""
    stack = bench.stack
    stack.pause_workers()
    try:
        event_ids = fill(bench, backlog=backlog)
        before = stack.cpu_seconds()
    finally:
        stack.resume_workers()
    per_second = rate_of_drain(stack)
    after = stack.cpu_seconds()
    rows = stack.fetch(_ROWS, event_ids)
    if len(rows) != backlog:
        message = f"{backlog} bookings were accepted and {len(rows)} are in PostgreSQL"
        raise Unexpected(message)
    return Drained(
        bookings=backlog,
        persisted_per_second=per_second,
        bare_per_second=asyncio.run(_insert_bare(stack.database_url(), rows)),
        cpu_ms={part: (after[part] - before[part]) * 1000 / backlog for part in ("valkey", "worker", "postgres")},
    )


def fill(bench: Bench, *, backlog: int) -> list[UUID]:
    """Accept as many bookings while nobody persists them; the events they are for, one if that can be.

    They are accepted by the engine without HTTP in between, or the first would be too old before the last is
    made.
    """
    stack = bench.stack
    event_ids: list[UUID] = []
    partitions: set[int] = set()
    settings = stack.settings().model_copy(update={"unpersisted_max": UNPERSISTED_MAX})
    left = backlog
    while left:
        event_id = bench.crowd.event()
        if partition_of_event(event_id) in partitions:
            continue
        partitions.add(partition_of_event(event_id))
        event_ids.append(event_id)
        left -= uvloop.run(_book(settings, event_id, bench.crowd.buyers[:left]))
    return event_ids


async def _book(settings: Settings, event_id: UUID, buyers: list[Minted]) -> int:
    """Book for every buyer until the partition takes no more; how many bookings were made."""
    waiting, until_s = iter(buyers), time.monotonic() + FILL_SECONDS_MAX
    async with open_stores(settings) as stores:
        await stores.scripts.refresh()
        return sum(await asyncio.gather(*(_book_on(stores, event_id, waiting, until_s) for _ in range(FILLERS))))


async def _book_on(stores: Stores, event_id: UUID, waiting: Iterator[Minted], until_s: float) -> int:
    made = 0
    while time.monotonic() < until_s and (buyer := next(waiting, None)):
        try:
            await stores.box_office.reserve(Ask.trusted(buyer.id), TicketOrder(event_id, 1, f"backlog-{event_id}"))
        except PersistenceLagging:
            break
        made += 1
    return made


def rate_of_drain(stack: Stack) -> float:
    """Bookings a second from the first look that finds fewer than before to the one that finds none."""
    with stack.redis() as redis:
        total = left = stack.unpersisted(redis)
        began_s, began_left = time.perf_counter(), total
        while left:
            time.sleep(LOOK_SECONDS)
            left = stack.unpersisted(redis)
            if began_left == total and left < total:
                began_s, began_left = time.perf_counter(), left
        return began_left / (time.perf_counter() - began_s)


async def _insert_bare(url: str, rows: list[asyncpg.Record]) -> float:
    """Rows a second, in batches as large as the worker's, each a transaction of its own."""
    batches = [
        [list(column) for column in zip(*rows[start : start + BATCH_MAX], strict=True)]
        for start in range(0, len(rows), BATCH_MAX)
    ]
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_BARE_TABLE)
        insert = await connection.prepare(_BARE_INSERT)
        began_s = time.perf_counter()
        for batch in batches:
            await insert.fetch(*batch)
        took_s = time.perf_counter() - began_s
        await connection.execute("DROP TABLE bare_bookings")
    finally:
        await connection.close()
    return len(rows) / took_s
