"""Times of the admins' lists and dashboards with 100,000 users, by one client."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from msgspec import Struct

from api.http.pagination import write_cursor
from domain.accounts.accounts import Role
from domain.kernel.counters import POOL_MAIN
from loadtests.bench.cases.furnishing import ATTENDEES, TAKEN
from loadtests.sales.figures import times_of
from loadtests.sales.stack import sale_stack
from ops.evidence.bulk import event_on_sale, mint, write_events
from ops.evidence.servers import postgres_of

if TYPE_CHECKING:
    from domain.platform.settings import Settings

USERS_DEFAULT = 100_000

ORGANIZERS = 1_000
"""Each has one event; every attendee has a booking of one of them, evenly spread."""

REQUESTS_DEFAULT = 200
"""Measured requests of each kind; the p95 is then the eleventh slowest."""

WARM_UP = 10
"""Unmeasured requests: connections are opened and queries planned."""

SKIP = 10_000
"""The largest `skip` that the API accepts."""

EVENTS_OF_ONE = 100
"""Events of the organizer whose dashboard is read: as many as a dashboard shows."""

AUDIT_ENTRIES = 100_000

P95_MS_MAX = 50.0
"""The bar, on an otherwise idle machine."""

ADMIN, ORGANIZER, ATTENDEE = Role.ADMIN, Role.ORGANIZER, Role.ATTENDEE

REQUESTS = (
    ("attendees, first page", ADMIN, "/api/v1/admin/users/attendees?limit=100"),
    ("attendees, farthest", ADMIN, f"/api/v1/admin/users/attendees?limit=100&skip={SKIP}"),
    ("attendees, searched", ADMIN, "/api/v1/admin/users/attendees?limit=100&q=user-777"),
    ("organizers, first page", ADMIN, "/api/v1/admin/users/organizers?limit=100"),
    ("organizers, last page", ADMIN, f"/api/v1/admin/users/organizers?limit=100&skip={ORGANIZERS - 100}"),
    ("details of an organizer", ADMIN, "/api/v1/admin/users/details/{organizer_id}"),
    ("audit log, first page", ADMIN, "/api/v1/admin/audit-log?limit=100"),
    ("audit log, half-way", ADMIN, "/api/v1/admin/audit-log?limit=100&cursor={cursor}"),
    ("events, first page", ADMIN, "/api/v1/events?limit=100"),
    ("events, searched", ADMIN, "/api/v1/events?limit=100&q=number%2077"),
    ("guest list, first page", ADMIN, "/api/v1/bookings/{event_id}?limit=100"),
    ("admin's dashboard", ADMIN, "/api/v1/dashboard"),
    ("organizer's dashboard", ORGANIZER, "/api/v1/dashboard"),
    ("attendee's dashboard", ATTENDEE, "/api/v1/dashboard"),
)

_BOOKINGS = """
    WITH numbered AS (SELECT id, row_number() OVER () AS n FROM accounts WHERE role = 'attendee')
    INSERT INTO bookings (id, event_id, user_id, quantity, status, version, created_at, confirmed_at)
    SELECT gen_random_uuid(), ($1::uuid[])[1 + n % cardinality($1::uuid[])], id, 1, 'confirmed', 1, now(), now()
    FROM numbered
"""

_AUDIT = """
    INSERT INTO audit_log (at, actor_id, action, target_id, detail)
    SELECT now(), $1, 'account.banned', gen_random_uuid(), '{}' FROM generate_series(1, $2::int)
"""


class Cast(Struct, frozen=True):
    """Tokens by role, and what is read with them."""

    tokens: dict[Role, str]
    organizer_id: UUID
    event_id: UUID

    def path(self, template: str) -> str:
        """Fill in the path of a request."""
        cursor = write_cursor(AUDIT_ENTRIES // 2)
        return template.format(organizer_id=self.organizer_id, event_id=self.event_id, cursor=cursor)


def main() -> None:
    """Run from the command line and print a table."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.admin_lists", description=__doc__)
    parser.add_argument("--users", type=int, default=USERS_DEFAULT)
    parser.add_argument("--requests", type=int, default=REQUESTS_DEFAULT, help="of each kind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-lists-") as name:
        stack = sale_stack(Path(name))
        people = stack.furnish(partial(_furnish, users=options.users))
        with stack:
            slow = _measure(stack.url, people, requests=options.requests)
    if slow:
        sys.exit(f"p95 over {P95_MS_MAX:.0f} ms: {', '.join(slow)}")


async def _furnish(settings: Settings, *, users: int) -> Cast:
    """Write the users, their bookings and events, and the audit log."""
    (admin,) = await mint(settings, role=Role.ADMIN, count=1)
    (buyer,) = await mint(settings, role=Role.ATTENDEE, count=1)
    organizers = await mint(settings, role=Role.ORGANIZER, count=ORGANIZERS)
    attendees = users - ORGANIZERS
    owners = [organizers[0].id] * (EVENTS_OF_ONE - 1) + [organizer.id for organizer in organizers]
    events = [
        event_on_sale(organizer_id=owner, title=f"A list's event, number {number}", capacity=attendees, max_per_user=1)
        for number, owner in enumerate(owners)
    ]
    await write_events(settings, events)
    await _sell(settings, [event.id for event in events], attendees=attendees, admin_id=admin.id)
    tokens = {ADMIN: admin.token, ORGANIZER: organizers[0].token, ATTENDEE: buyer.token}
    return Cast(tokens, organizers[0].id, events[0].id)


async def _sell(settings: Settings, event_ids: list[UUID], *, attendees: int, admin_id: UUID) -> None:
    async with postgres_of(settings) as postgres:
        await postgres.execute(ATTENDEES, attendees)
        await postgres.execute(_BOOKINGS, event_ids)
        await postgres.execute(TAKEN, POOL_MAIN)
        await postgres.execute(_AUDIT, admin_id, AUDIT_ENTRIES)
        # As autovacuum does within a minute: the planner knows the tables, and counting reads only indexes.
        await postgres.execute("VACUUM ANALYZE")


def _measure(url: str, people: Cast, *, requests: int) -> list[str]:
    """Print a table; returns the requests that are slower than the bar."""
    print(f"{'request':<26}{'p50 ms':>8}{'p95 ms':>8}{'p99 ms':>8}")
    slow = []
    with httpx.Client(base_url=url, timeout=30) as client:
        for what, role, template in REQUESTS:
            client.headers["Authorization"] = f"Bearer {people.tokens[role]}"
            path = people.path(template)
            times = times_of([_time_ms(client, path) for _ in range(WARM_UP + requests)][WARM_UP:])
            print(f"{what:<26}{times.p50_ms:>8.1f}{times.p95_ms:>8.1f}{times.p99_ms:>8.1f}", flush=True)
            if times.p95_ms > P95_MS_MAX:
                slow.append(what)
    return slow


def _time_ms(client: httpx.Client, path: str) -> float:
    began_s = time.perf_counter()
    client.get(path).raise_for_status()
    return (time.perf_counter() - began_s) * 1000


if __name__ == "__main__":
    main()
