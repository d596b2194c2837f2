"""Accounts, events and bookings for tests that do not depend on their details."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID, uuid4

from msgspec import structs
from sqlalchemy import insert, text
from sqlalchemy.dialects.postgresql import insert as insert_or_update

from domain.accounts.accounts import AccountSession, Caller, Role
from domain.accounts.tokens import Token, TokenKind
from domain.kernel.bookings import Reduction
from domain.kernel.claims import read_claims, reduced_claims
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import Invalid, Unavailable
from domain.sales.events import EventChanges, NewEvent
from domain.sales.orders import TicketOrder
from domain.store.postgres.tables import counters, events
from domain.store.redis.admission import Ask
from domain.store.redis.keys import due_key, dues_key, record_key
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event

ORGANIZER = UUID("0a0a0a0a-0000-4000-8000-000000000001")
"""Who makes the events of tests that do not ask who did."""

BEGIN_AHEAD = timedelta(milliseconds=50)
"""How far ahead an event's new start is at first: a change takes a few milliseconds on a machine at rest."""

UNAVAILABLE_MAX = 20

Made = TypeVar("Made")

NO_PASSWORD = "not a hash: nobody logs in with it"

_numbers = count(1)

_INSERT_ACCOUNTS = text(
    """
    INSERT INTO accounts (id, email, email_key, password_hash, role, status, token_epoch, created_at)
    SELECT id, id || '@example.org', id || '@example.org', :password_hash, :role, 'active', 0, now()
    FROM unnest(CAST(:ids AS uuid[])) AS id
    ON CONFLICT (id) DO NOTHING
    """
)

_HOLD_EVENT = text("SELECT id FROM events WHERE id = :id FOR NO KEY UPDATE")


def as_organizer(account_id: UUID) -> Caller:
    """An organizer whose tokens were never ended, as a caller without a session."""
    return Caller(account_id=account_id, session_id=None, token_epoch=0, role=Role.ORGANIZER)


ORGANIZED = as_organizer(ORGANIZER)
"""`ORGANIZER` as a caller."""


def tomorrow() -> datetime:
    """A moment at which no sale of a test is over yet."""
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


async def make_accounts(stores: Stores, number: int) -> list[UUID]:
    """Attendees that hold nothing yet."""
    ids = [uuid4() for _ in range(number)]
    await place_accounts(stores, ids)
    return ids


async def place_accounts(stores: Stores, ids: Sequence[UUID]) -> None:
    """Attendees with these ids."""
    await _insert_accounts(stores, ids, role="attendee")


async def make_account(stores: Stores) -> UUID:
    """An attendee that holds nothing yet."""
    return (await make_accounts(stores, 1))[0]


async def open_session(stores: Stores, *, account_id: UUID | None = None, known_to_redis: bool = False) -> Token:
    """The access token of a new session; with `known_to_redis`, Redis is told of the session, as after a login."""
    now = datetime.now(UTC)
    account = await stores.accounts.find(account_id or await make_account(stores))
    session = AccountSession(id=uuid4(), account_id=account.id, expires_at=now + timedelta(hours=1))
    ended = await stores.sessions.open(account, session=session, refresh_hash=b"", password_hash=None, now=now)
    if known_to_redis:
        await stores.admission.session_opened(account, session, ended=ended, opened_in=stores.scripts.epoch)
    return Token(
        kind=TokenKind.ACCESS,
        id=uuid4(),
        account_id=account.id,
        session_id=session.id,
        role=account.role,
        epoch=account.token_epoch,
        issued_s=int(now.timestamp()),
        expires_s=int(now.timestamp()) + 60,
    )


def new_event(**fields: Any) -> NewEvent:
    """An event on sale: 100 tickets, without a lower limit for each account."""
    defaults: dict[str, Any] = {
        "title": f"Concert {next(_numbers)}",
        "location": "Tempodrom, Berlin",
        "starts_at": tomorrow(),
        "capacity": 100,
        "max_per_user": 100,
    }
    return NewEvent(**defaults | fields)


async def make_event(stores: Stores, **fields: Any) -> Event:
    """`new_event`, on sale."""
    await _insert_accounts(stores, [ORGANIZER], role="organizer")
    new = new_event(**fields)
    return await until_served(lambda: stores.event_actions.create(new, caller=ORGANIZED))


async def until_served(call: Callable[[], Awaitable[Made]]) -> Made:
    """The result of a call that changes an event, which is repeated while servers cannot be asked.

    PostgreSQL ends a transaction whose process pauses for IDLE_MS_MAX, and a test's process does on a busy machine.
    """
    for _ in range(UNAVAILABLE_MAX):
        try:
            return await call()
        except Unavailable:
            await asyncio.sleep(0)
    return await call()


async def begin(stores: Stores, event_id: UUID) -> None:
    """Move the start of an event to a moment from now, and wait for it. On a slow machine the moment is later."""
    event, ahead = await stores.event_actions.find(event_id), BEGIN_AHEAD
    caller = as_organizer(event.organizer_id)
    while True:
        changes = EventChanges(starts_at=datetime.now(UTC) + ahead)
        try:
            event = await stores.event_actions.change(event_id, changes, caller=caller, expected_version=None)
            break
        except Invalid:
            # It was in the past when it was judged.
            ahead *= 2
    await eventually(stores.inventory.now_ms, is_so=lambda now_ms: now_ms >= event.terms.starts_ms)


async def pass_by(stores: Stores, *passed: Event, days: int = 40) -> None:
    """Move the creation and the start of these events into the past by `days`."""
    moved = (
        "UPDATE events SET starts_at = starts_at - make_interval(days => :days), "
        "opened_at = opened_at - make_interval(days => :days) WHERE id = :id"
    )
    for event in passed:
        async with stores.database.begin() as connection:
            await connection.execute(text(moved), {"days": days, "id": event.id})
        await stores.catalog.renew_terms(event.id)


async def place_event(stores: Stores, event_id: UUID, **fields: Any) -> None:
    """`make_event` with an id of the test's choice."""
    await _insert_accounts(stores, [ORGANIZER], role="organizer")
    new = new_event(**fields)
    values = {name: value for name, value in structs.asdict(new).items() if name in events.c} | {
        "id": event_id,
        "organizer_id": ORGANIZER,
        "partition": partition_of_event(event_id),
        "paused": False,
        "version": 1,
        "terms_token": uuid4().hex,
        "created_at": datetime.now(UTC),
    }
    async with stores.database.begin() as connection:
        await connection.execute(insert(events).values(values))
        await connection.execute(
            insert(counters).values(event_id=event_id, counter=POOL_MAIN, size=new.capacity, taken=0)
        )
    await stores.inventory.install((await stores.events.find(event_id)).terms, new=True)


async def place_counters(stores: Stores, event_id: UUID, **sizes: int) -> None:
    """Give an event further counters, or its counters other sizes, as a change made by hand would."""
    placed = insert_or_update(counters).values(event_id=event_id, taken=0)
    placed = placed.on_conflict_do_update(constraint="pk_counters", set_={"size": placed.excluded.size})
    async with stores.database.begin() as connection:
        await connection.execute(_HOLD_EVENT, {"id": event_id})
        await connection.execute(placed, [{"counter": name, "size": size} for name, size in sizes.items()])
    await until_served(lambda: stores.catalog.renew_terms(event_id))


async def make_neighbours(stores: Stores, number: int, **fields: Any) -> list[Event]:
    """Events that share a partition, and so an unpersisted set."""
    found: dict[int, list[Event]] = {}
    while True:
        event = await make_event(stores, **fields)
        together = found.setdefault(partition_of_event(event.id), [])
        together.append(event)
        if len(together) == number:
            return together


async def make_strangers(stores: Stores, **fields: Any) -> tuple[Event, Event]:
    """Two events of different partitions."""
    first = await make_event(stores, **fields)
    while True:
        second = await make_event(stores, **fields)
        if partition_of_event(second.id) != partition_of_event(first.id):
            return first, second


async def book(
    stores: Stores, event: Event, *, user_id: UUID | None = None, quantity: int = 1, key: str | None = None
) -> Booking:
    """A booking as its buyer is told of it: accepted, not yet persisted."""
    reservation = await stores.box_office.reserve(
        Ask.trusted(user_id or await make_account(stores)), TicketOrder(event.id, quantity, key)
    )
    return reservation.booking


class HoldOrder(TicketOrder, frozen=True):
    """An order whose tickets are held until they are confirmed."""

    hold_ms: int = 60_000

    @property
    def fingerprint(self) -> str:
        """Not the same as of an order without a hold."""
        return f"hold {self.quantity}"


async def hold(stores: Stores, event: Event, *, user_id: UUID | None = None, **fields: Any) -> Booking:
    """A hold as its buyer is told of it: accepted, not yet persisted. `fields` are those of its order."""
    ask = Ask.trusted(user_id or await make_account(stores))
    return (await stores.box_office.reserve(ask, HoldOrder(event.id, **{"quantity": 1} | fields))).booking


async def reduce(stores: Stores, booking: Booking, quantity: int, **fields: Any) -> Booking:
    """A plain booking of which so many tickets are kept, as its owner is told of it."""

    def keep(now: Booking) -> Reduction:
        claims = read_claims(now.known_claims)
        kept = {counter: quantity if units == now.quantity else units for counter, units in claims.items()}
        return Reduction(reduced_claims(now.known_claims, kept), quantity)

    return await stores.box_office.reduce(booking.id, keep, **fields)


async def make_due(stores: Stores, booking: Booking) -> None:
    """Move the deadline of a hold to now, as if the time had passed."""
    now_ms = await stores.inventory.now_ms()
    await stores.pipeline.redis.hset(record_key(booking.id), "due_ms", now_ms)
    await stores.pipeline.redis.zadd(due_key(booking.event_id), {str(booking.id): now_ms})
    await stores.pipeline.redis.zadd(dues_key(partition_of_event(booking.event_id)), {str(booking.event_id): now_ms})


def as_polled(booking: Booking) -> Booking:
    """A booking as a poll reads it: without what only the engine needs."""
    return structs.replace(booking, claims=None, fingerprint=None)


async def _insert_accounts(stores: Stores, ids: Sequence[UUID], *, role: str) -> None:
    async with stores.database.begin() as connection:
        await connection.execute(_INSERT_ACCOUNTS, {"ids": list(ids), "role": role, "password_hash": NO_PASSWORD})
