"""However many users there are, an admin's list costs the same few statements."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.dialects import postgresql

from domain.accounts.accounts import Role
from domain.store.postgres.reports import administration
from tests.factories import book, make_accounts, make_event
from tests.waiting import persist_all

STATEMENTS_MAX = 6
"""A list, its length, and what a dashboard adds up."""

READS_MAX = 40
"""Times that Redis may have to read from its connections for a page: fewer than the page has events.

Redis reads 16 KB at a time, so the commands of a page are some twenty reads, in however few round trips.
"""

TRIES = 5
"""Pages of which the cheapest counts: what other tasks of this process ask meanwhile is counted as well."""

PATHS = [
    "/api/v1/admin/users/attendees?limit=100",
    "/api/v1/admin/users/organizers?limit=100",
    "/api/v1/admin/users/details/{user_id}",
    "/api/v1/admin/audit-log?limit=100",
    "/api/v1/dashboard",
    "/api/v1/events?limit=100",
]


@contextmanager
def counted_statements():
    statements = []

    def note(_connection, _cursor, statement, *_):
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def _statements_of(caller, path):
    """The statements of one page, once a process remembers what it remembers."""
    await caller.get(path)
    counts = []
    for _ in range(TRIES):
        with counted_statements() as statements:
            answer = await caller.get(path)
        assert answer.status_code == 200
        counts.append(len(statements))
    return min(counts)


async def _crowd(stores, number):
    for user_id in await make_accounts(stores, number):
        await book(stores, await make_event(stores), user_id=user_id)
    await persist_all(stores)
    return user_id


@pytest.mark.parametrize("path", PATHS)
async def test_a_list_costs_the_same_statements_however_many_users_there_are(callers, stores, path):
    admin = await callers.admin()
    counts = []
    for number in (1, 30):
        path_now = path.format(user_id=await _crowd(stores, number))
        counts.append(await _statements_of(admin, path_now))

    few, many = counts
    assert few == many <= STATEMENTS_MAX


@pytest.mark.parametrize("role", [Role.ATTENDEE, Role.ORGANIZER])
async def test_a_dashboard_costs_the_same_statements_however_much_it_shows(callers, stores, role):
    caller = await (callers.organizer() if role is Role.ORGANIZER else callers.attendee())
    counts = []
    for number in (1, 30):
        for _ in range(number):
            if role is Role.ORGANIZER:
                await caller.make_event()
            else:
                await caller.book(str((await make_event(stores)).id))
        await persist_all(stores)
        counts.append(await _statements_of(caller, "/api/v1/dashboard"))

    few, many = counts
    assert few == many <= STATEMENTS_MAX


@pytest.mark.parametrize("path", ["/api/v1/events?limit=100", "/api/v1/dashboard"])
async def test_a_page_of_events_costs_no_round_trip_to_redis_for_each(callers, stores, path):
    organizer = await callers.organizer()
    for _ in range(50):
        await organizer.make_event()
    await organizer.get(path)
    costs = []

    for _ in range(TRIES):
        before = await _reads(stores)
        shown = (await organizer.get(path)).json()
        costs.append(await _reads(stores) - before)
        assert len(shown.get("items") or shown["events"]) == 50

    assert min(costs) <= READS_MAX, costs


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (
            administration.page_of_accounts(Role.ATTENDEE, administration.AccountsAsked(limit=100, skip=10_000)),
            "ix_accounts_listed",
        ),
        (administration.number_of_accounts(Role.ATTENDEE), "ix_accounts_counted"),
        (administration.USERS_BY_ROLE, "ix_accounts_counted"),
        (administration.BOOKINGS_ENDED, "ix_bookings_ended"),
    ],
)
async def test_what_is_counted_or_skipped_is_read_in_an_index_alone(stores, statement, index):
    compiled = statement.compile(dialect=postgresql.dialect(), compile_kwargs={"literal_binds": True})
    await make_accounts(stores, 2_000)

    async with stores.database.begin() as connection:
        # Of two indexes of a page each, either may be taken.
        await connection.execute(text("ANALYZE accounts"))
        # Of a few rows, reading the table and sorting them would be cheaper.
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        await connection.execute(text("SET LOCAL enable_sort = off"))
        await connection.execute(text("SET LOCAL enable_bitmapscan = off"))
        plan = "\n".join((await connection.execute(text(f"EXPLAIN {compiled}"))).scalars())

    assert f"Index Only Scan using {index}" in plan


async def _reads(stores):
    return (await stores.pipeline.redis.info("stats"))["total_reads_processed"]
