"""Old rows are deleted after their time; the growth of the others is bounded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from sqlalchemy import func, insert, select, text

from domain.accounts.accounts import AccountSession, Standing
from domain.accounts.tokens import Token, TokenKind
from domain.background.retention import Deleted, delete_expired_once
from domain.store.postgres.accounts.sessions import SESSIONS_MAX, deletion_of_ended
from domain.store.postgres.tables import audit_log, intents, repairs, sessions
from tests.factories import book, make_account, make_event
from tests.waiting import eventually, persist_all

KNOWN_FIELDS_MAX = 70
"""Fields of an account's hash in Redis, with some that are written after it was found too large."""


def ago(days):
    return datetime.now(UTC) - timedelta(days=days)


async def count(stores, table):
    async with stores.database.connect() as connection:
        return (await connection.execute(select(func.count()).select_from(table))).scalar_one()


async def plant_audit_entries(stores, number, *, at):
    async with stores.database.begin() as connection:
        rows = [{"at": at, "actor_id": uuid4(), "action": "account.created", "detail": {}}] * number
        await connection.execute(insert(audit_log), rows)


async def plant_repairs(stores, number, *, at):
    event = await make_event(stores)
    row = {"at": at, "event_id": event.id, "fault": "counter_too_low", "subject": "pool:main"}
    row |= {"found": 1, "expected": 2, "repair": "mend", "done": True}
    async with stores.database.begin() as connection:
        await connection.execute(insert(repairs), [row] * number)


async def plant_session(stores, *, expires_at, revoked_at=None):
    row = {"id": uuid4(), "account_id": await make_account(stores), "refresh_hash": b"", "created_at": ago(20)}
    async with stores.database.begin() as connection:
        await connection.execute(insert(sessions).values(row | {"expires_at": expires_at, "revoked_at": revoked_at}))
    return row["id"]


def _intent(booking, *, version):
    names = ("id", "event_id", "user_id", "quantity", "status", "created_at")
    return {name: getattr(booking, name) for name in names} | {"version": version}


async def fields_known(stores, account_id):
    return await stores.pipeline.redis.hlen(f"{{a:{account_id.hex}}}:account")


async def test_logins_and_logouts_leave_neither_rows_nor_fields(stores):
    account = await stores.accounts.find(await make_account(stores))
    living = []

    for number in range(100):
        now = datetime.now(UTC)
        session = AccountSession(id=uuid4(), account_id=account.id, expires_at=now + timedelta(days=7))
        ended = await stores.sessions.open(account, session=session, refresh_hash=b"", password_hash=None, now=now)
        await stores.admission.session_opened(account, session, ended=ended, opened_in=stores.scripts.epoch)
        living.append(session.id)
        if number % 2:
            await stores.sessions.end(session.id, now=now)
            await stores.admission.sessions_ended(account.id, [living.pop()])

    assert await count(stores, sessions) <= SESSIONS_MAX + 1
    assert await fields_known(stores, account.id) <= KNOWN_FIELDS_MAX


async def test_a_reading_from_before_sessions_were_forgotten_revives_none(stores):
    account_id, session_id = await make_account(stores), uuid4()
    token = Token(
        kind=TokenKind.ACCESS, id=uuid4(), account_id=account_id, session_id=session_id, role="attendee", epoch=0,
        issued_s=0, expires_s=0,
    )  # fmt: skip
    seconds, microseconds = await stores.pipeline.redis.time()
    read_ms = seconds * 1000 + microseconds // 1000

    await stores.admission.sessions_ended(account_id, [session_id])
    await stores.admission.sessions_ended(account_id, [uuid4() for _ in range(KNOWN_FIELDS_MAX)])
    await stores.admission.sessions_ended(account_id, [uuid4()])
    standing = Standing(account_id, 0, live=True)
    await stores.admission._remember(token, standing, read_ms=read_ms, read_in=stores.scripts.epoch)

    assert await stores.pipeline.redis.hget(f"{{a:{account_id.hex}}}:account", f"session:{session_id.hex}") is None
    assert await fields_known(stores, account_id) <= KNOWN_FIELDS_MAX


async def test_rows_go_when_their_retention_is_over_and_not_before(stores):
    retention = stores.retention
    await plant_audit_entries(stores, 3, at=ago(retention.audit_log.days + 1))
    await plant_audit_entries(stores, 2, at=ago(retention.audit_log.days - 1))
    await plant_repairs(stores, 4, at=ago(retention.repairs.days + 1))
    await plant_repairs(stores, 2, at=ago(retention.repairs.days - 1))
    await plant_session(stores, expires_at=ago(2))
    await plant_session(stores, expires_at=ago(-5), revoked_at=ago(2))
    kept = {
        await plant_session(stores, expires_at=ago(-5)),
        await plant_session(stores, expires_at=ago(0.5)),
        await plant_session(stores, expires_at=ago(-5), revoked_at=ago(0.5)),
    }

    deleted = await delete_expired_once(stores)

    assert deleted == Deleted(sessions=2, audit_entries=3, repairs=4)
    async with stores.database.connect() as connection:
        assert set((await connection.execute(select(sessions.c.id))).scalars()) == kept
    # What events leave besides: one entry for each that an admin made, here none.
    assert (await count(stores, audit_log), await count(stores, repairs)) == (2, 2)
    assert await delete_expired_once(stores) == Deleted(0, 0, 0)


async def test_a_call_deletes_a_bounded_number_and_the_next_goes_on(stores):
    await plant_audit_entries(stores, 5, at=ago(4_000))
    await plant_repairs(stores, 5, at=ago(4_000))
    for _ in range(5):
        await plant_session(stores, expires_at=ago(30))

    first, second, third = [await delete_expired_once(stores, limit=3) for _ in range(3)]

    assert (first, second, third) == (Deleted(3, 3, 3), Deleted(2, 2, 2), Deleted(0, 0, 0))


async def test_as_many_sessions_are_deleted_in_every_plan(stores):
    """With a nested loop, PostgreSQL runs a subquery again for each row."""
    for _ in range(5):
        await plant_session(stores, expires_at=ago(30))

    async with stores.database.begin() as connection:
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "memoize"):
            await connection.execute(text(f"SET LOCAL enable_{way} = off"))
        deleted = (await connection.execute(deletion_of_ended(kept=timedelta(days=1), limit=3))).rowcount

    assert (deleted, await count(stores, sessions)) == (3, 2)


async def test_intents_go_in_bounded_statements_once_their_bookings_are_kept(stores):
    event = await make_event(stores)
    kept = await book(stores, event)
    await persist_all(stores)
    pending = await book(stores, event)
    rows = [_intent(kept, version=-number) for number in range(7)] + [_intent(pending, version=1)]
    async with stores.database.begin() as connection:
        await connection.execute(insert(intents), rows)

    first = await stores.intents.forget_kept(limit=3, rounds=2)
    rest = await stores.intents.forget_kept(limit=3, rounds=2)

    assert (first, rest) == (6, 1)
    async with stores.database.connect() as connection:
        assert (await connection.execute(select(intents.c.id))).scalars().all() == [pending.id]
    await persist_all(stores)


async def test_a_worker_deletes_what_is_past_its_retention(stores, processes):
    await plant_audit_entries(stores, 7, at=ago(3))
    processes.worker(AUDIT_LOG_DAYS="2")

    async def is_empty():
        return await count(stores, audit_log) == 0

    await eventually(is_empty)


async def test_the_oldest_ended_sessions_are_found_by_an_index(stores):
    async with stores.database.begin() as connection:
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = await connection.execute(
            text(
                "EXPLAIN SELECT id FROM sessions WHERE least(expires_at, revoked_at) < now() - interval '1 day' "
                "LIMIT 10 FOR UPDATE SKIP LOCKED"
            )
        )

    assert "ix_sessions_over" in str(plan.all())
