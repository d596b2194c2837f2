"""Accounts, events and bookings in bulk, for runs with many buyers.

Signing up and in takes two argon2 hashes, which is two minutes for 2,000 accounts. An event over HTTP takes a
transaction. Here each is a row of one statement.
"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from msgspec import Struct, structs

from domain.accounts.accounts import Account, AccountStatus, Role, email_key
from domain.accounts.passwords import Passwords
from domain.accounts.signing_keys import Keys
from domain.accounts.tokens import TokenKind, Tokens, fingerprint, utc_now
from domain.kernel.claims import claims_text, stored_claims
from domain.kernel.partitions import partition_of_event
from domain.sales.events import Event
from domain.sales.orders import TicketOrder
from domain.store.postgres.events.past_events import terms_token
from domain.store.postgres.events.rows import event_row
from ops.evidence.servers import postgres_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    import asyncpg

    from domain.platform.settings import Settings

PASSWORD = "a password that everybody in a crowd shares"  # noqa: S105  (of throw-away accounts)

EVENT_DAYS_AHEAD = 90
"""Events start long after the run, so that no request is refused because of the date."""


class Minted(Struct, frozen=True, kw_only=True):
    """An account that is signed in: `token` is an access token of a living session."""

    id: UUID
    email: str
    password: str
    token: str


async def mint(settings: Settings, *, role: Role, count: int) -> list[Minted]:
    """Write `count` accounts, each with a living session and an access token of it.

    The settings have the database and the secret of the stack that the tokens are for.
    """
    now = utc_now()
    password_hash = await _hash(PASSWORD)
    accounts = [_account(role, password_hash=password_hash, now=now) for _ in range(count)]
    sessions = [uuid4() for _ in accounts]
    async with postgres_of(settings) as postgres:
        await _copy(postgres, "accounts", [_account_row(account) for account in accounts])
        rows = [_session_row(settings, *each, now=now) for each in zip(accounts, sessions, strict=True)]
        await _copy(postgres, "sessions", rows)
    tokens = Tokens(Keys.of(settings), {TokenKind.ACCESS: settings.access_token_seconds})
    return [
        Minted(
            id=account.id,
            email=account.email,
            password=PASSWORD,
            token=tokens.issue(TokenKind.ACCESS, account, session_id=session_id, now=now),
        )
        for account, session_id in zip(accounts, sessions, strict=True)
    ]


def event_on_sale(*, organizer_id: UUID, title: str, capacity: int, max_per_user: int) -> Event:
    """A new event on sale."""
    now = utc_now()
    return Event(
        id=uuid4(),
        organizer_id=organizer_id,
        title=title,
        description="",
        location="Nowhere",
        starts_at=now + timedelta(days=EVENT_DAYS_AHEAD),
        ends_at=None,
        capacity=capacity,
        max_per_user=max_per_user,
        sales_open_at=None,
        sales_close_at=None,
        paused=False,
        suspended=False,
        cancelled_at=None,
        version=1,
        terms_token=uuid4().hex,
        created_at=now,
    )


def closed_event(*, organizer_id: UUID, title: str, capacity: int) -> Event:
    """An event that was over long ago and is closed."""
    event = event_on_sale(organizer_id=organizer_id, title=title, capacity=capacity, max_per_user=1)
    return structs.replace(
        event,
        starts_at=event.created_at - timedelta(days=EVENT_DAYS_AHEAD),
        closed_at=event.created_at,
        terms_token=terms_token(closed=True),
    )


async def write_events(
    settings: Settings, events: Sequence[Event], *, further: Mapping[str, int] | None = None
) -> None:
    """Write events and their counters. The inventory learns of them with its next rebuild.

    `further` are the sizes of counters that each event has beside its own.
    """
    rows = [event_row(event) | {"partition": partition_of_event(event.id)} for event in events]
    counters = [
        {"event_id": event.id, "counter": counter, "size": size, "taken": 0}
        for event in events
        for counter, size in (event.sizes | dict(further or {})).items()
    ]
    async with postgres_of(settings) as postgres:
        await _copy(postgres, "events", rows)
        await _copy(postgres, "counters", counters)


async def write_bookings(settings: Settings, events: Sequence[Event], buyers: Sequence[Minted], *, each: int) -> None:
    """Write `each` confirmed bookings of one ticket for each event, by the buyers in turn, and count them.

    The events have no bookings yet. The inventory learns of them with its next rebuild.
    """
    ids, partitions = [event.id for event in events], [partition_of_event(event.id) for event in events]
    (claimed,) = TicketOrder(ids[0], 1).alternatives(events[0].terms, account_id=buyers[0].id)
    claims = claims_text(claimed)
    values = [buyer.id for buyer in buyers], stored_claims(claims, buyers[0].id), each
    async with postgres_of(settings) as postgres:
        await postgres.execute(_BOOKINGS, ids, partitions, *values, timeout=None)
        await postgres.execute("UPDATE counters SET taken = $2 WHERE event_id = ANY($1)", ids, each)
        # Autovacuum would do it within a minute. Until then, PostgreSQL plans as for small tables.
        await postgres.execute("VACUUM ANALYZE events, counters, bookings", timeout=None)


_BOOKINGS = """
    INSERT INTO bookings (id, event_id, user_id, quantity, claims, status, version, created_at, confirmed_at)
    SELECT (overlay(overlay(noise PLACING '8' FROM 13) PLACING '8' FROM 17) || lpad(to_hex(partition), 2, '0'))::uuid,
           event_id, ($3::uuid[])[1 + number % cardinality($3::uuid[])], 1, $4, 'confirmed', 1, now(), now()
    FROM unnest($1::uuid[], $2::int[]) AS event(event_id, partition),
         generate_series(1, $5::int) AS number,
         substr(md5(event_id::text || number), 1, 30) AS noise
"""
"""The ids have the version, the variant and the partition of booking ids."""


async def _copy(postgres: asyncpg.Connection, table: str, rows: Sequence[Mapping[str, object]]) -> None:
    records = [tuple(row.values()) for row in rows]
    await postgres.copy_records_to_table(table, columns=tuple(rows[0]), records=records)


def _account(role: Role, *, password_hash: str, now: datetime) -> Account:
    account_id = uuid4()
    return Account(
        id=account_id,
        email=f"crowd-{account_id.hex}@example.org",
        password_hash=password_hash,
        role=role,
        status=AccountStatus.ACTIVE,
        token_epoch=1,
        created_at=now,
    )


def _account_row(account: Account) -> dict[str, object]:
    return structs.asdict(account) | {"email_key": email_key(account.email)}


def _session_row(settings: Settings, account: Account, session_id: UUID, *, now: datetime) -> dict[str, object]:
    return {
        "id": session_id,
        "account_id": account.id,
        # The hash of a token that was never made: nobody can refresh such a session.
        "refresh_hash": fingerprint(uuid4().hex),
        "created_at": now,
        "expires_at": now + timedelta(seconds=settings.refresh_token_seconds),
    }


async def _hash(password: str) -> str:
    with closing(Passwords()) as passwords:
        return await passwords.hash(password)
