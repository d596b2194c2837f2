"""The migration of a million bookings of the previous release, which sells meanwhile.

Prints how long each step takes, how long buyers and confirmations waited, which locks were waited for, and how much the
table of bookings grew.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import httpx
from msgspec import Struct, field

from domain.kernel.partitions import partition_of_event
from loadtests.bench.against.build import BuildStack, revision
from loadtests.bench.cases.crowd import SignedInBuyers
from ops.supervision.process import ProcessFailed
from ops.supervision.program import ONSALE, plain_environment

if TYPE_CHECKING:
    from collections.abc import Sequence

PREVIOUS_RELEASE = "bc33771"
"""Version 0.1.0."""

BOOKINGS_DEFAULT = 1_000_000
EVENTS = 100
ACCOUNTS = 100_000

BUYERS = 1_000
BUYERS_AT_ONCE = 4
CANCELLED_SHARE = 10
"""One in this many bookings is cancelled."""

SECONDS_BEFORE = 10.0
SECONDS_AFTER = 5.0

SERVERS = ("DATABASE_URL", "REDIS_URL", "QUEUE_URL", "JWT_SECRET")
"""The settings of the stack that the migration needs."""

LOOK_SECONDS = 0.05
POLL_SECONDS = 0.02
ANSWER_SECONDS_MAX = 60.0

_EVENTS = """
    INSERT INTO events (id, organizer_id, title, description, location, starts_at, capacity, max_per_user,
                        paused, partition, version, terms_token, created_at)
    SELECT new.id, organizer_id, title, description, location, starts_at, capacity, max_per_user,
           paused, new.partition, 1, gen_random_uuid(), created_at
    FROM events, unnest($2::uuid[], $3::smallint[]) AS new(id, partition) WHERE events.id = $1
"""
"""Copies of the event `$1`."""

_ACCOUNTS = """
    INSERT INTO accounts (id, email, email_key, password_hash, role, status, token_epoch, created_at)
    SELECT gen_random_uuid(), 'user-' || n || '@example.org', 'user-' || n || '@example.org', 'nobody logs in',
           'attendee', 'active', 1, now()
    FROM generate_series(1, $1::int) AS n
"""

_BOOKINGS = """
    WITH buyers AS (SELECT array_agg(id) AS ids FROM accounts WHERE email LIKE 'user-%'),
    sold AS (SELECT array_agg(id) AS ids, array_agg(partition) AS partitions FROM events WHERE id = ANY($2))
    INSERT INTO bookings (id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at)
    SELECT encode(set_byte(uuid_send(gen_random_uuid()), 15, sold.partitions[1 + n % $3]), 'hex')::uuid,
           sold.ids[1 + n % $3], buyers.ids[1 + n % cardinality(buyers.ids)], 1 + n % 3,
           CASE WHEN n % 10 = 0 THEN 'cancelled' ELSE 'confirmed' END, 1,
           now() - n * interval '1 second', now() - n * interval '1 second', CASE WHEN n % 10 = 0 THEN now() END
    FROM buyers, sold, generate_series(1, $1::int) AS n
"""

_POOLS = """
    INSERT INTO pools (event_id, counter, size, taken)
    SELECT event_id, 'pool:main', 1000000, coalesce(sum(quantity) FILTER (WHERE status = 'confirmed'), 0)
    FROM bookings WHERE event_id = ANY($1) GROUP BY event_id
"""

_SIZES = """
    SELECT pg_relation_size('bookings') / 1048576, pg_indexes_size('bookings') / 1048576,
           (SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'bookings')
"""

_VERSION = "SELECT version_num FROM alembic_version"

_WAITING = """
    SELECT pid, query_start, left(regexp_replace(query, '\\s+', ' ', 'g'), 60) AS query,
           extract(epoch FROM clock_timestamp() - state_change) AS seconds
    FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND backend_type = 'client backend'
"""

_WRONG = """
    SELECT count(*) FROM bookings WHERE claims IS DISTINCT FROM 'user:@=' || quantity || ' pool:main=' || quantity
"""


class SoldOverHttp(Struct):
    """A booking over HTTP, in seconds of the monotonic clock."""

    sent_s: float
    accepted_s: float
    confirmed_s: float | None = None


class WatchedSale(Struct):
    """What buyers saw, and when."""

    sold: list[SoldOverHttp] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)

    def line(self, name: str, since_s: float, until_s: float) -> str:
        """The waits of the bookings that were sent or on their way in this time."""
        sold = [each for each in self.sold if each.accepted_s >= since_s and each.sent_s < until_s]
        took = sorted(each.accepted_s - each.sent_s for each in sold)
        waited = sorted(each.confirmed_s - each.accepted_s for each in sold if each.confirmed_s)
        refused = sum(since_s <= at_s < until_s for at_s in self.refused_s)
        return (
            f"{name:18} {until_s - since_s:7.1f} s {len(sold):6} bookings, 202 after {_spread(took)},"
            f" confirmed after {_spread(waited)}, {refused} refused"
        )


class WatchedLocks(Struct):
    """What PostgreSQL showed, at intervals of LOOK_SECONDS."""

    looks: int = 0
    versions: list[tuple[str, float]] = field(default_factory=list)
    waits: dict[tuple[int, object], tuple[float, str]] = field(default_factory=dict)
    """The longest wait and the statement, by process and start of the statement."""


def main() -> None:
    """Run from the command line; exits with 1 when a booking has other claims than it should."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.migrating", description=__doc__)
    parser.add_argument("--bookings", type=int, default=BOOKINGS_DEFAULT)
    parser.add_argument(
        "--release", default=PREVIOUS_RELEASE, help="the release that sells; the previous one by default"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-migrating-") as folder:
        stack = BuildStack(revision(options.release), Path(folder))
        with stack:
            crowd = SignedInBuyers(stack, size=BUYERS)
            events = asyncio.run(_fill(stack, crowd.event(), bookings=options.bookings))
        print(f"{options.bookings} bookings are written; {options.release} starts again")
        with stack:
            wrong = asyncio.run(_migrate(stack, [buyer.token for buyer in crowd.buyers], events))
    if wrong:
        sys.exit(f"{wrong} bookings have wrong claims")


async def _fill(stack: BuildStack, pattern: UUID, *, bookings: int) -> list[UUID]:
    """Copy the event `pattern` and sell the copies; they are on sale after the next start."""
    events = [uuid4() for _ in range(EVENTS)]
    postgres = await asyncpg.connect(stack.database_url())
    try:
        await postgres.execute(_EVENTS, pattern, events, [partition_of_event(event) for event in events])
        await postgres.execute("SET session_replication_role = replica")
        await postgres.execute(_ACCOUNTS, ACCOUNTS)
        await postgres.execute(_BOOKINGS, bookings, events, EVENTS, timeout=None)
        await postgres.execute(_POOLS, events)
        await postgres.execute("VACUUM ANALYZE")
        await postgres.execute("CHECKPOINT")
    finally:
        await postgres.close()
    return events


async def _migrate(stack: BuildStack, tokens: Sequence[str], events: Sequence[UUID]) -> int:
    """Sell, migrate beside it, sell on, and print what was seen; returns the bookings with wrong claims."""
    sale, watch = WatchedSale(), WatchedLocks()
    postgres = await asyncpg.connect(stack.database_url())
    watching = await asyncpg.connect(stack.database_url())
    tasks = [asyncio.create_task(_look(watching, watch)), asyncio.create_task(_sell(stack.url, tokens, events, sale))]
    try:
        began_s = time.monotonic()
        await asyncio.sleep(SECONDS_BEFORE)
        print("before: bookings {} MB, indexes {} MB, {} dead rows".format(*await postgres.fetchrow(_SIZES)))
        used, migrating_s = stack.cpu_seconds(), time.monotonic()
        await _run(stack)
        migrated_s = time.monotonic()
        spent = {part: after - used[part] for part, after in stack.cpu_seconds().items()}
        print("after: bookings {} MB, indexes {} MB, {} dead rows".format(*await postgres.fetchrow(_SIZES)))
        await asyncio.sleep(SECONDS_AFTER)
        ended_s = time.monotonic()
    finally:
        for task in tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await watching.close()
    print(sale.line("before", began_s, migrating_s))
    print(sale.line("migrating", migrating_s, migrated_s))
    print(sale.line("after", migrated_s, ended_s))
    print("CPU while migrating: " + ", ".join(f"{part} {seconds:.1f} s" for part, seconds in spent.items()))
    _print_steps(watch, migrating_s)
    return int(await postgres.fetchval(_WRONG))


async def _run(stack: BuildStack) -> None:
    """`onsale migrate` of this code."""
    environment = plain_environment() | {name: stack.variables[name] for name in SERVERS}
    run = await asyncio.create_subprocess_exec(*ONSALE, "migrate", env=environment)
    if code := await run.wait():
        message = f"onsale migrate ended with {code}"
        raise ProcessFailed(message)


def _print_steps(watch: WatchedLocks, migrating_s: float) -> None:
    since_s = migrating_s
    for version, at_s in watch.versions:
        if at_s >= migrating_s:
            print(f"{version} is reached {at_s - since_s:.1f} s after the one before")
            since_s = at_s
    print(f"{watch.looks} looks found {len(watch.waits)} statements that waited for locks")
    for seconds, query in sorted(watch.waits.values(), reverse=True)[:10]:
        print(f"  {seconds * 1000:7.0f} ms  {query}")


async def _look(postgres: asyncpg.Connection, watch: WatchedLocks) -> None:
    """Look at PostgreSQL until cancelled."""
    while True:
        version = await postgres.fetchval(_VERSION)
        if not watch.versions or watch.versions[-1][0] != version:
            watch.versions.append((version, time.monotonic()))
        for row in await postgres.fetch(_WAITING):
            key = row["pid"], row["query_start"]
            before, _ = watch.waits.get(key, (0.0, ""))
            watch.waits[key] = max(before, float(row["seconds"])), row["query"]
        watch.looks += 1
        await asyncio.sleep(LOOK_SECONDS)


async def _sell(url: str, tokens: Sequence[str], events: Sequence[UUID], sale: WatchedSale) -> None:
    """Some buyers book again and again until cancelled."""
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=ANSWER_SECONDS_MAX, trust_env=False) as client:
        turns = [tokens[first::BUYERS_AT_ONCE] for first in range(BUYERS_AT_ONCE)]
        await asyncio.gather(*(_buyer(client, turn, events, sale) for turn in turns))


async def _buyer(client: httpx.AsyncClient, tokens: Sequence[str], events: Sequence[UUID], sale: WatchedSale) -> None:
    number = 0
    while True:
        number += 1
        headers = {"Authorization": f"Bearer {tokens[number % len(tokens)]}"}
        order = {"event_id": str(events[number % len(events)]), "quantity": 1}
        sent_s = time.monotonic()
        answer = await client.post("/bookings", json=order, headers=headers | {"Idempotency-Key": uuid4().hex})
        if answer.status_code != httpx.codes.ACCEPTED:
            sale.refused_s.append(time.monotonic())
            await asyncio.sleep(POLL_SECONDS)
            continue
        sold = SoldOverHttp(sent_s, time.monotonic())
        sale.sold.append(sold)
        path = answer.headers["Location"].removeprefix("/api/v1")
        await _confirmed(client, path, headers, sold)
        if number % CANCELLED_SHARE == 0:
            (await client.delete(path.removesuffix("/status"), headers=headers)).raise_for_status()


async def _confirmed(client: httpx.AsyncClient, path: str, headers: dict[str, str], sold: SoldOverHttp) -> None:
    """Poll until a booking is confirmed."""
    status = ""
    while status != "confirmed":
        await asyncio.sleep(POLL_SECONDS)
        status = (await client.get(path, headers=headers)).raise_for_status().json()["status"]
    sold.confirmed_s = time.monotonic()


def _spread(seconds: Sequence[float]) -> str:
    """Median and maximum."""
    if not seconds:
        return "-"
    return f"{seconds[len(seconds) // 2] * 1000:.0f} ms (max {seconds[-1] * 1000:.0f})"


if __name__ == "__main__":
    main()
