"""How long the admins' lists and dashboard take with 100,000 users, asked one after the other by one client."""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx

from domain.events import POOL_MAIN
from domain.identity import Role
from loadtests.figures import times_of
from loadtests.stack import Stack
from ops.minting import event_on_sale, mint, write_events

if TYPE_CHECKING:
    from uuid import UUID

    from domain.settings import Settings

USERS_DEFAULT = 100_000

ORGANIZERS = 1_000
"""Each has one event, for which the attendees hold a booking each, dealt out evenly."""

REQUESTS_DEFAULT = 200
"""Of each kind; the p95 is then the eleventh slowest."""

WARM_UP = 10
"""Requests nobody measures: connections are opened and plans made."""

SKIP = 10_000
"""The farthest page that is answered."""

PATHS = {
    "attendees, first page": "/api/v1/admin/users/attendees?limit=100",
    "attendees, farthest": f"/api/v1/admin/users/attendees?limit=100&skip={SKIP}",
    "organizers, first page": "/api/v1/admin/users/organizers?limit=100",
    "audit log": "/api/v1/admin/audit-log?limit=100",
    "dashboard": "/api/v1/dashboard",
}

_ATTENDEES = """
    INSERT INTO accounts (id, email, email_key, password_hash, role, status, token_epoch, created_at)
    SELECT gen_random_uuid(), 'user-' || n || '@example.org', 'user-' || n || '@example.org', 'nobody logs in',
           'attendee', 'active', 0, now() - n * interval '1 second'
    FROM generate_series(1, $1::int) AS n
"""

_BOOKINGS = """
    WITH numbered AS (SELECT id, row_number() OVER () AS n FROM accounts WHERE role = 'attendee')
    INSERT INTO bookings (id, event_id, user_id, quantity, status, version, created_at, confirmed_at)
    SELECT gen_random_uuid(), ($1::uuid[])[1 + n % cardinality($1::uuid[])], id, 1, 'confirmed', 1, now(), now()
    FROM numbered
"""

_TAKEN = """
    UPDATE pools SET taken = sold.places
    FROM (SELECT event_id, sum(quantity) AS places FROM bookings GROUP BY event_id) AS sold
    WHERE pools.event_id = sold.event_id AND counter = $1
"""


def main() -> None:
    """Run from the command line and print a table."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.admin_lists", description=__doc__)
    parser.add_argument("--users", type=int, default=USERS_DEFAULT)
    parser.add_argument("--requests", type=int, default=REQUESTS_DEFAULT, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-lists-") as name:
        folder = Path(name)
        log = folder / "stack.log"
        with Stack(folder, log=log, say=print) as stack:
            token = asyncio.run(_furnish(stack.settings(), users=options.users))
        # The inventory learns of events written by hand when it starts.
        with Stack(folder, log=log, say=print) as stack:
            _measure(stack.url, token, requests=options.requests)


async def _furnish(settings: Settings, *, users: int) -> str:
    """Write the users, their bookings and events; answers an admin's token."""
    (admin,) = await mint(settings, role=Role.ADMIN, count=1)
    organizers = await mint(settings, role=Role.ORGANIZER, count=ORGANIZERS)
    attendees = users - ORGANIZERS
    events = [
        event_on_sale(organizer_id=organizer.id, title="A list's event", capacity=attendees, max_per_user=1)
        for organizer in organizers
    ]
    await write_events(settings, events)
    await _sell(settings, [event.id for event in events], attendees=attendees)
    return admin.token


async def _sell(settings: Settings, event_ids: list[UUID], *, attendees: int) -> None:
    if settings.database_url is None:
        message = "the stack says where its database is"
        raise ValueError(message)
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        await connection.execute(_ATTENDEES, attendees)
        await connection.execute(_BOOKINGS, event_ids)
        await connection.execute(_TAKEN, POOL_MAIN)
        await connection.execute("ANALYZE")
    finally:
        await connection.close()


def _measure(url: str, token: str, *, requests: int) -> None:
    print(f"{'request':<24}{'p50 ms':>8}{'p95 ms':>8}{'p99 ms':>8}")
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        for what, path in PATHS.items():
            times = times_of([_time_ms(client, path) for _ in range(WARM_UP + requests)][WARM_UP:])
            print(f"{what:<24}{times.p50_ms:>8.1f}{times.p95_ms:>8.1f}{times.p99_ms:>8.1f}")


def _time_ms(client: httpx.Client, path: str) -> float:
    began_s = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - began_s) * 1000


if __name__ == "__main__":
    main()
