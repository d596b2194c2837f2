"""P6 as a matrix: each end of a token, each fate of Redis, each process, each kind of request."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from uuid import uuid4

import httpx
import pytest

from domain.accounts.accounts import Role
from domain.accounts.passwords import Passwords
from tests.api.access.test_revocation import FATES, _assign_role, _ban, _close, _log_out, _switch_role
from tests.api.callers import PASSWORD, Caller, process_of

CALLERS_OF_EACH = 9

NOBODYS_ID = "0a0a0a0a-0000-4000-8000-00000000aaaa"


async def _new_password(caller, _admin):
    """Ends every other session: the caller goes on with another one than the token that was asked for."""
    changed = {"current_password": PASSWORD, "password": "another fine password"}
    answer = await caller.elsewhere.patch("/api/v1/me", changed)
    assert answer.status_code == 200


ENDINGS = [_log_out, _ban, _assign_role, _switch_role, _close, _new_password]


@pytest.fixture
async def crowd(client, clean):
    """For each ending, callers with two sessions each."""
    passwords = Passwords()
    password_hash = await passwords.hash(PASSWORD)
    passwords.close()
    membership = process_of(client).membership

    async def session(account):
        made = await membership._open_session(account, None)
        user = {"id": str(account.id), "email": account.email}
        return Caller(client, {"access_token": made.access_token, "refresh_token": made.refresh_token, "user": user})

    async def one():
        email = f"{uuid4().hex}@example.org"
        account = await clean.accounts.create(
            email=email, password_hash=password_hash, role=Role.ATTENDEE, now=datetime.now(UTC)
        )
        caller = await session(account)
        caller.elsewhere = await session(account)
        return caller

    return {end: [await one() for _ in range(CALLERS_OF_EACH)] for end in ENDINGS}


@pytest.mark.parametrize("fate", FATES, ids=lambda fate: fate.__name__.strip("_"))
async def test_no_ended_token_is_accepted_by_any_process_whatever_became_of_redis(  # noqa: PLR0913, PLR0917
    callers, crowd, stores, processes, valkey, capsys, fate
):
    """S5, S6: six endings, two kinds of token, two processes, one of them another program; over 300 tries each.

    At the other program the tokens are in cookies.
    """
    admin, api = await callers.admin(), processes.api(RATE_LIMITS="off")
    statuses = Counter()
    async with httpx.AsyncClient(base_url=api.url, timeout=20) as client:
        ended = [caller for callers in crowd.values() for caller in callers]
        for caller in ended:
            assert (await caller.through(client).get("/api/v1/me")).status_code == 200
        for end, some in crowd.items():
            for caller in some:
                await end(caller, admin)
        await fate(stores, valkey)

        for caller in ended:
            for where in (caller, caller.through(client).with_cookies()):
                statuses[(await where.get("/api/v1/me")).status_code] += 1
                statuses[(await where.book(NOBODYS_ID)).status_code] += 1
                refused = await where.post("/api/v1/auth/refresh_token", token=caller.refresh_token)
                statuses[refused.status_code] += 1

    with capsys.disabled():
        print(f"\n{fate.__name__.strip('_')}: {dict(statuses)}")  # noqa: T201
    assert statuses == {401: len(ENDINGS) * CALLERS_OF_EACH * 6}
