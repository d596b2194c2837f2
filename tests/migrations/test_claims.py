"""The migration that stores the claims of bookings, beside processes of the previous release that sell."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

import asyncpg
import pytest
from alembic import command
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy.exc import DBAPIError

from domain.accounts.accounts import Role
from domain.engine import open_stores
from domain.kernel.partitions import partition_of_event
from migrations.upgrade import config_of, migrate
from ops.evidence.answers import Answer, Kind
from ops.evidence.bulk import mint
from tests.deployments import releases
from tests.deployments.crowd import Crowd, buying_at
from tests.processes import ROOT, Processes
from tests.waiting import eventually

FROM = "0003"
"""The schema of the previous release."""

SOLD = 20
"""Bookings that are sold in each stage."""

BUYERS = 4
FORMER_BUYERS = 99
EVENTS = 8
BOOKINGS = 2_000
STATUSES = ("confirmed", "cancelled", "rejected")

NOW = datetime.now(UTC)
"""When the bookings were made that are there before anything runs."""


@dataclass(frozen=True)
class OldEvent:
    """An event in the schema of the previous release."""

    id: object


@pytest.fixture(scope="module")
def previous(tmp_path_factory):
    try:
        return releases.previous_release(tmp_path_factory.mktemp("previous"))
    except releases.NoHistory as missing:
        pytest.fail(str(missing))


@pytest.fixture
async def old(settings, valkey, empty_url):
    """Settings of servers with the schema of the previous release, and nothing in Redis."""
    valkey.start()
    async with Redis.from_url(valkey.url()) as redis:
        await redis.flushall()
        await redis.script_flush()
    await asyncio.to_thread(migrate, empty_url, revision=FROM)
    return settings.model_copy(update={"database_url": SecretStr(empty_url)})


@asynccontextmanager
async def connected(settings):
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        yield connection
    finally:
        await connection.close()


async def fill(settings):
    """Write events, buyers and bookings; returns a crowd of other buyers, with the requests of the first ones."""
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    former = await mint(settings, role=Role.ATTENDEE, count=FORMER_BUYERS)
    events = [OldEvent(uuid4()) for _ in range(EVENTS)]
    crowd = Crowd(await mint(settings, role=Role.ATTENDEE, count=BUYERS), events)
    for number in range(BOOKINGS):
        crowd.answers.append(
            Answer(
                kind=Kind.BOOK,
                buyer=former[number % FORMER_BUYERS].id,
                event=events[number % EVENTS].id,
                key=uuid4().hex,
                quantity=1 + number % 2,
            )
        )
    async with connected(settings) as postgres:
        await postgres.executemany(
            """
            INSERT INTO events (id, organizer_id, title, description, location, starts_at, capacity, max_per_user,
                                paused, partition, version, terms_token, created_at)
            VALUES ($1, $2, 'An old event', '', 'Nowhere', now() + interval '90 days', 1000000, 100,
                    false, $3, 1, $4, now())
            """,
            [(event.id, organizer.id, partition_of_event(event.id), uuid4().hex) for event in events],
        )
        await postgres.copy_records_to_table(
            "bookings",
            columns=("id", "event_id", "user_id", "quantity", "status", "version", "created_at", "cancelled_at"),
            records=[row(answer, number) for number, answer in enumerate(crowd.answers)],
        )
        await postgres.execute(
            """
            INSERT INTO pools (event_id, counter, size, taken)
            SELECT event_id, 'pool:main', 1000000, sum(quantity) FILTER (WHERE status = 'confirmed')
            FROM bookings GROUP BY event_id
            """
        )
    return crowd


def row(order, number):
    status = STATUSES[number % 3]
    cancelled_at = NOW if status == "cancelled" else None
    return order.subject, order.event, order.buyer, order.quantity, status, 1, NOW, cancelled_at


OLD_ROWS = """
    SELECT id, event_id, user_id, quantity, status, version, created_at, confirmed_at, cancelled_at, reason
    FROM bookings WHERE created_at = $1 ORDER BY id
"""

WRONG_CLAIMS = """
    SELECT count(*) FROM bookings WHERE claims IS DISTINCT FROM 'user:@=' || quantity || ' pool:main=' || quantity
"""

WITHOUT_CLAIMS = "SELECT count(*) FROM bookings WHERE claims IS NULL"

VERSION = "SELECT version_num FROM alembic_version"


def migration(settings, revision="head"):
    """A run of the migrations in a process of its own."""
    code = "import sys; from migrations.upgrade import migrate; migrate(sys.argv[1], revision=sys.argv[2])"
    return subprocess.Popen([sys.executable, "-c", code, settings.database_url.get_secret_value(), revision], cwd=ROOT)


async def ended(run):
    """Its exit code."""
    return await eventually(lambda: asyncio.to_thread(run.poll), is_so=lambda code: code is not None)


async def looked_up(settings, statement):
    async with connected(settings) as postgres:
        return await postgres.fetchval(statement)


@asynccontextmanager
async def selling(settings, crowd, previous, *, fork_server):
    """Processes of the previous release that sell to the crowd; the books are checked at the end."""
    with Processes(settings, fork_server) as processes:
        await asyncio.to_thread(processes.worker, previous)
        api = await asyncio.to_thread(processes.api, previous, RATE_LIMITS="off")
        async with open_stores(settings) as stores, buying_at(stores, crowd, api.url):
            await crowd.until_sold(SOLD, api.url)
            yield api.url


async def test_bookings_get_their_claims_while_the_previous_release_sells(old, previous, fork_server):
    crowd = await fill(old)
    async with connected(old) as postgres:
        before = await postgres.fetch(OLD_ROWS, NOW)

        async with selling(old, crowd, previous, fork_server=fork_server) as url:
            run = await asyncio.to_thread(migration, old)
            assert await ended(run) == 0
            await crowd.until_sold(SOLD, url)

        assert await postgres.fetch(OLD_ROWS, NOW) == before
        assert await postgres.fetchval(WRONG_CLAIMS) == 0
        assert len(before) == BOOKINGS


async def test_a_killed_migration_is_carried_on_by_the_next_run(old, previous, fork_server):
    crowd = await fill(old)
    async with connected(old) as postgres, selling(old, crowd, previous, fork_server=fork_server) as url:
        assert await ended(await asyncio.to_thread(migration, old, "0013")) == 0
        async with postgres.transaction():
            # The carry-over skips a row that another transaction has locked, and comes back to it.
            await postgres.fetch("SELECT id FROM bookings WHERE status = 'rejected' LIMIT 1 FOR UPDATE")
            for _ in range(2):
                run = await asyncio.to_thread(migration, old)
                await eventually(lambda: looked_up(old, WITHOUT_CLAIMS), is_so=lambda left: left == 1)
                await crowd.until_sold(SOLD, url)
                assert run.poll() is None
                run.kill()
                await ended(run)
                assert await looked_up(old, VERSION) == "0013"

        assert await ended(await asyncio.to_thread(migration, old)) == 0
        await crowd.until_sold(SOLD, url)

    assert await looked_up(old, WRONG_CLAIMS) == 0


async def test_sales_go_on_while_the_migration_waits_for_a_long_transaction(old, previous, fork_server):
    crowd = await fill(old)
    assert await ended(await asyncio.to_thread(migration, old, "0012")) == 0
    async with connected(old) as postgres, selling(old, crowd, previous, fork_server=fork_server) as url:
        async with postgres.transaction():
            await postgres.fetch("SELECT id FROM bookings LIMIT 1")
            run = await asyncio.to_thread(migration, old)
            await eventually(lambda: looked_up(old, WAITS))
            await crowd.until_sold(SOLD, url)
            assert run.poll() is None

        assert await ended(run) == 0
        await crowd.until_sold(SOLD, url)


WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"


async def test_a_database_with_bookings_of_the_previous_release_goes_back(old):
    await fill(old)
    await asyncio.to_thread(migrate, old.database_url.get_secret_value())

    await asyncio.to_thread(command.downgrade, config_of(old.database_url.get_secret_value()), "0012")

    async with connected(old) as postgres:
        assert await postgres.fetchval("SELECT count(*) FROM bookings") == BOOKINGS
        assert await postgres.fetchval("SELECT count(*) FROM pools WHERE counter = 'pool:main'") == EVENTS


@pytest.mark.parametrize(
    "change",
    [
        "claims = 'user:@=1 pool:main=1 pool:vip=1'",
        "status = 'held', due_at = now()",
        "claims = 'pool:vip=' || quantity",
    ],
)
async def test_a_database_with_what_the_previous_release_cannot_read_does_not_go_back(old, change):
    await fill(old)
    await asyncio.to_thread(migrate, old.database_url.get_secret_value())
    async with connected(old) as postgres:
        await postgres.execute(f"UPDATE bookings SET {change} WHERE id = (SELECT id FROM bookings LIMIT 1)")

        with pytest.raises(DBAPIError):
            await asyncio.to_thread(command.downgrade, config_of(old.database_url.get_secret_value()), "0012")

        assert await postgres.fetchval("SELECT count(*) FROM counters") == EVENTS
        assert await postgres.fetchval(WITHOUT_CLAIMS) == 0
