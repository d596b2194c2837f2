"""Sessions: how many an account has, and what they leave."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select

from domain.store.schema import sessions


async def test_role_changes_leave_neither_rows_nor_fields(callers, stores):
    caller = await callers.attendee()

    for number in range(100):
        answer = await caller.patch("/api/v1/me/role", {"role": ("organizer", "attendee")[number % 2]})
        assert answer.status_code == 200, answer.text
        caller.access_token = answer.json()["access_token"]

    assert (await caller.get("/api/v1/me")).status_code == 200
    async with stores.engine.connect() as connection:
        assert (await connection.execute(select(func.count()).select_from(sessions))).scalar_one() <= 2
    assert await stores.pipeline.redis.hlen(f"{{a:{UUID(caller.id).hex}}}:account") <= 70
