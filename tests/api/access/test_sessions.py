"""Sessions: their number for each account, and the rows and fields that they leave."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import delete, func, select

from domain.store.postgres.tables import audit_log, sessions
from ops.commands.accounts import SessionsUntold, set_password
from tests.api.callers import PASSWORD

NEW_PASSWORD = "what the operator typed"


async def test_role_changes_leave_neither_rows_nor_fields(callers, stores):
    caller = await callers.attendee()

    for number in range(100):
        answer = await caller.patch("/api/v1/me/role", {"role": ("organizer", "attendee")[number % 2]})
        assert answer.status_code == 200, answer.text
        caller.access_token = answer.json()["access_token"]

    assert (await caller.get("/api/v1/me")).status_code == 200
    async with stores.database.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(sessions))).scalar_one() <= 2
    assert await stores.pipeline.redis.hlen(f"{{a:{UUID(caller.id).hex}}}:account") <= 70


async def test_a_dead_token_asks_postgresql_once_when_its_session_is_deleted(callers, stores):
    caller = await callers.attendee()
    await caller.post("/api/v1/auth/logout")
    async with stores.database.begin() as connection:
        session_id = (await connection.execute(delete(sessions).returning(sessions.c.id))).scalar_one()
    key = f"{{a:{UUID(caller.id).hex}}}:account"
    await stores.pipeline.redis.delete(key)

    answers = [await caller.get("/api/v1/me") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert await stores.pipeline.redis.hget(key, f"session:{session_id.hex}") == b"over"
    again = await callers.log_in(caller.email)
    assert (await again.get("/api/v1/me")).status_code == 200


async def test_a_password_that_an_operator_sets_ends_every_session(callers, client, other_client, stores):
    caller = await callers.admin()
    elsewhere = (await callers.log_in(caller.email)).through(other_client)
    assert (await elsewhere.get("/api/v1/me")).status_code == 200

    await set_password(stores, email=caller.email.upper(), password=NEW_PASSWORD)

    for session in (caller, elsewhere):
        assert (await session.get("/api/v1/me")).status_code == 401
        assert (await session.post("/api/v1/auth/refresh_token", token=session.refresh_token)).status_code == 401
    answers = [
        await client.post("/api/v1/admin/auth/login", json={"email": caller.email, "password": password})
        for password in (PASSWORD, NEW_PASSWORD)
    ]
    assert [answer.status_code for answer in answers] == [401, 200]
    async with stores.database.connect() as connection:
        statement = select(audit_log.c.actor_id, audit_log.c.target_id).where(
            audit_log.c.action == "account.password_set"
        )
        assert (await connection.execute(statement)).all() == [(None, UUID(caller.id))]


async def test_a_banned_account_with_another_password_stays_banned(callers, client, stores):
    admin, caller = await callers.admin(), await callers.attendee()
    await admin.delete(f"/api/v1/admin/users/{caller.id}")

    await set_password(stores, email=caller.email, password=NEW_PASSWORD)

    body = {"email": caller.email, "password": NEW_PASSWORD}
    assert (await client.post("/api/v1/auth/login", json=body)).status_code == 401


async def test_a_password_set_while_redis_is_away_is_told_by_setting_it_again(callers, stores, valkey):
    caller = await callers.attendee()
    assert (await caller.get("/api/v1/me")).status_code == 200
    valkey.stop()

    with pytest.raises(SessionsUntold):
        await set_password(stores, email=caller.email, password=NEW_PASSWORD)

    assert (await caller.get("/api/v1/me")).status_code == 401
