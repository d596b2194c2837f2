"""A full backlog: how fast the workers write it, beside bare inserts of the same rows, and its memory in Redis."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID

from domain.background.persisting import BATCH_MAX
from loadtests.bench.load.generator import Unexpected
from ops.evidence.servers import postgres_of

if TYPE_CHECKING:
    import asyncpg

    from domain.platform.settings import Settings
    from loadtests.bench.cases.cases import OwnBench
    from loadtests.bench.report.results import Figures
    from loadtests.bench.stack import BenchStack

FILL_SECONDS_MAX = 3.5
"""Into one event: the engine refuses what would join a backlog older than five seconds."""

FILL_CHUNK = 500

EVENTS_MAX = 40
"""Events tried while a backlog is filled."""

LOOK_SECONDS = 0.02

_ROWS = """
    SELECT id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at, reason, claims
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
        (id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at, reason, claims)
    SELECT * FROM unnest(
        $1::uuid[], $2::uuid[], $3::uuid[], $4::integer[], $5::text[], $6::integer[],
        $7::timestamptz[], $8::timestamptz[], $9::timestamptz[], $10::text[], $11::text[]
    )
"""


def measure_drain(bench: OwnBench, *, backlog: int, bare: bool) -> Figures:
    """Fill a backlog while the workers are paused and let them drain it; with `bare`, insert the same rows once more.

    Bookings or rows per second, and CPU for one booking.
    """
    stack = bench.stack
    stack.pause_workers()
    try:
        event_ids = fill(bench, backlog=backlog)
        before = stack.cpu_seconds()
    finally:
        stack.resume_workers()
    figures = {"per_second": _rate_of_drain(stack), "bookings": float(backlog)}
    after = stack.cpu_seconds()
    for part in ("valkey", "worker", "postgres"):
        figures[f"cpu_us.{part}"] = (after[part] - before[part]) * 1_000_000 / backlog
    if bare:
        rows = stack.fetch(_ROWS, event_ids)
        if len(rows) != backlog:
            message = f"{backlog} bookings were accepted and {len(rows)} are in PostgreSQL"
            raise Unexpected(message)
        figures["bare_per_second"] = asyncio.run(_insert_bare(stack.settings(), rows))
    return figures


def measure_memory(bench: OwnBench, *, bookings: int) -> Figures:
    """Make bookings over HTTP while the workers are paused, then have them persisted.

    Bytes for one booking, with all that its request leaves in Redis: record, lists, counter, key, limit.
    """
    stack = bench.stack
    stack.pause_workers()
    try:
        before = _used_bytes(stack)
        fill(bench, backlog=bookings)
        pending = _used_bytes(stack)
    finally:
        stack.resume_workers()
    stack.wait_until_drained()
    retired = _used_bytes(stack)
    return {"pending_bytes": (pending - before) / bookings, "retired_bytes": (retired - before) / bookings}


def fill(bench: OwnBench, *, backlog: int) -> list[UUID]:
    """Accept `backlog` bookings over HTTP while the workers are paused; returns the events that they are for.

    Every few seconds another event is used, before the first booking of its partition is too old.
    """
    event_ids, buyers, left = list[UUID](), bench.crowd.buyers, backlog
    while left > 0 and len(event_ids) < EVENTS_MAX:
        event_ids.append(bench.crowd.event())
        until_s, at = time.monotonic() + FILL_SECONDS_MAX, 0
        try:
            while left and at < len(buyers) and time.monotonic() < until_s:
                booked = bench.crowd.book(event_ids[-1], buyers[at : at + min(FILL_CHUNK, left)])
                at += len(booked)
                left -= len(booked)
        except Unexpected:
            # The event shares its partition with one that has waited for long; part of the chunk may be booked.
            with bench.stack.redis() as redis:
                left = backlog - bench.stack.unpersisted(redis)
    if left > 0:
        message = f"{left} of {backlog} bookings could not be made before the workers are due"
        raise Unexpected(message)
    return event_ids


def _used_bytes(stack: BenchStack) -> int:
    """What Redis says it uses for data."""
    with stack.redis() as redis:
        info = cast("dict[str, Any]", redis.info("memory"))
    return int(info["used_memory_dataset"])


def _rate_of_drain(stack: BenchStack) -> float:
    """Bookings a second from the first look that finds fewer than before to the one that finds none.

    If the first such look finds none already, from when the workers went on.
    """
    with stack.redis() as redis:
        total = left = stack.unpersisted(redis)
        began_s, began_left = time.perf_counter(), total
        while left:
            time.sleep(LOOK_SECONDS)
            left = stack.unpersisted(redis)
            if began_left == total and 0 < left < total:
                began_s, began_left = time.perf_counter(), left
        return began_left / (time.perf_counter() - began_s)


async def _insert_bare(settings: Settings, rows: list[asyncpg.Record]) -> float:
    """Rows a second, in batches as large as the worker's, each a transaction of its own."""
    batches = [
        [list(column) for column in zip(*rows[start : start + BATCH_MAX], strict=True)]
        for start in range(0, len(rows), BATCH_MAX)
    ]
    async with postgres_of(settings) as postgres:
        await postgres.execute(_BARE_TABLE)
        insert = await postgres.prepare(_BARE_INSERT)
        began_s = time.perf_counter()
        for batch in batches:
            await insert.fetch(*batch)
        took_s = time.perf_counter() - began_s
        await postgres.execute("DROP TABLE bare_bookings")
    return len(rows) / took_s
