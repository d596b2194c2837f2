"""Locks on accounts: a caller whose token is dead is told that before anything else."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from msgspec import structs
from sqlalchemy import insert, text

from domain.kernel.refusals import EventNotFound, Unauthenticated, UserNotFound
from domain.store.postgres.accounts.holding import hold_caller
from domain.store.postgres.tables import sessions
from tests.factories import ORGANIZED, make_event
from tests.waiting import eventually

MISSING = [UUID(int=1), UUID(int=2**128 - 1)]
"""Locked before and after every account."""


@pytest.mark.parametrize("missing", MISSING)
async def test_a_dead_token_is_refused_before_an_account_that_is_missing(stores, missing):
    await make_event(stores)
    dead = structs.replace(ORGANIZED, token_epoch=ORGANIZED.token_epoch + 1)

    async with stores.database.begin() as connection:
        with pytest.raises(Unauthenticated):
            await hold_caller(connection, dead, changing=[missing])
        with pytest.raises(UserNotFound):
            await hold_caller(connection, ORGANIZED, changing=[missing])


async def test_a_dead_token_is_refused_before_an_event_that_is_missing(stores):
    await make_event(stores)
    dead = structs.replace(ORGANIZED, token_epoch=ORGANIZED.token_epoch + 1)

    with pytest.raises(Unauthenticated):
        await stores.event_actions.cancel(uuid4(), caller=dead)
    with pytest.raises(EventNotFound):
        await stores.event_actions.cancel(uuid4(), caller=ORGANIZED)


async def test_a_logout_waits_for_the_requests_that_hold_their_caller(stores):
    """So nothing that a request of the session writes is committed after the logout is answered."""
    await make_event(stores)
    caller, now = structs.replace(ORGANIZED, session_id=uuid4()), datetime.now(UTC)
    row = {"id": caller.session_id, "account_id": caller.account_id, "refresh_hash": b"", "created_at": now}
    async with stores.database.begin() as connection:
        await connection.execute(insert(sessions).values(row | {"expires_at": now + timedelta(days=1)}))

    async with stores.database.begin() as connection:
        await hold_caller(connection, caller)
        logout = asyncio.create_task(stores.sessions.end(caller.session_id, now=now))
        await eventually(lambda: _waits_or_is_done(stores, logout))

        assert not logout.done()
    await logout
    async with stores.database.begin() as connection:
        with pytest.raises(Unauthenticated):
            await hold_caller(connection, caller)


async def _waits_or_is_done(stores, task):
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with stores.database.connect() as connection:
        return task.done() or (await connection.execute(text(waiting))).scalar_one() > 0
