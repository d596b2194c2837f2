"""Everything that is known after a trial, from the buyers' answers, PostgreSQL and Redis, and from the API."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from msgspec import Struct

from domain.background.audit import audit
from domain.background.reconciling import reconcile
from domain.engine import open_stores
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import PARTITIONS, booking_id_for_key
from domain.kernel.refusals import Unavailable
from domain.store.redis.keys import counters_key, unpersisted_key
from ops.chaos.answers import Answer, Order
from ops.chaos.stack.servers import hash_of
from ops.chaos.watch import Sight

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.platform.settings import Settings
    from domain.sales.events import Event
    from ops.chaos.stack.stack import Stack
    from ops.evidence.bulk import Minted

QUESTIONS_MAX = 300
"""Bookings the API is asked about at the end, drawn from all."""

QUESTIONS_AT_ONCE = 8
ANSWER_SECONDS_MAX = 10.0
LISTENS_AGAIN_SECONDS = 0.1
MISSING = "missing"
"""What is said of a booking that has no row."""


class Row(Struct, frozen=True, kw_only=True):
    """A booking as PostgreSQL has it."""

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: str
    reason: str | None = None


class Books(Struct, frozen=True, kw_only=True):
    """One event at the end: PostgreSQL's pool, and Redis' counters, in all and by account."""

    event_id: UUID
    capacity: int
    max_per_user: int
    pool_size: int
    pool_taken: int
    redis_taken: int
    redis_users: dict[UUID, int]
    sight: Sight


class Repaired(Struct, frozen=True):
    """A fault of the books that reconciliation found."""

    fault: str
    subject: str
    found: int
    expected: int


class Evidence(Struct, frozen=True, kw_only=True):
    """What a trial left behind.

    `told` is what the API says of some bookings at the end. `to_final_s` is how long after the faults
    every accepted booking was final, None if that was not awaited. `redis_was_lost` says that Redis
    forgot what it had acknowledged while DURABILITY=redis.
    """

    answers: list[Answer]
    rows: list[Row]
    books: list[Books]
    told: dict[UUID, str]
    unpersisted: int
    intents: int
    repairs: list[Repaired]
    audit_drift: int
    unanswered: int
    gave_up: list[str]
    to_final_s: float | None
    to_final_s_max: float
    redis_was_lost: bool = False

    @property
    def accepted(self) -> dict[UUID, Answer]:
        """The first acceptance of each booking."""
        accepted: dict[UUID, Answer] = {}
        for answer in self.answers:
            if answer.accepted and answer.booking:
                accepted.setdefault(answer.booking, answer)
        return accepted

    @property
    def status(self) -> dict[UUID, str]:
        """What PostgreSQL says of each booking."""
        return {row.id: row.status for row in self.rows}

    @property
    def held(self) -> dict[UUID, Counter[UUID]]:
        """Confirmed places by event and account, counted from the rows."""
        held: dict[UUID, Counter[UUID]] = {books.event_id: Counter() for books in self.books}
        for row in self.rows:
            if row.status == "confirmed":
                held.setdefault(row.event_id, Counter())[row.user_id] += row.quantity
        return held


class Left(Struct, frozen=True):
    """What is not yet in PostgreSQL, or was not when it was looked at."""

    unpersisted: int
    intents: int
    rows: list[Row]


def id_of(order: Order) -> UUID:
    """The booking that an order names."""
    return booking_id_for_key(account_id=order.buyer, idempotency_key=order.key, event_id=order.event)


async def read_left(stack: Stack) -> Left:
    """What Redis and PostgreSQL have now; raises when one of them cannot be asked."""
    async with stack.valkey.connect() as redis:
        unpersisted = [await redis.zcard(unpersisted_key(partition)) for partition in range(PARTITIONS)]
    connection = await stack.postgres.connect()
    try:
        rows = await connection.fetch("SELECT id, event_id, user_id, quantity, status, reason FROM bookings")
        intents = await connection.fetchval(_INTENTS_LEFT)
    finally:
        connection.terminate()
    return Left(sum(unpersisted), intents, [Row(**row) for row in rows])


async def read_books(stack: Stack, events: Sequence[Event], sights: dict[UUID, Sight]) -> list[Books]:
    """The books of each event, as both sides have them."""
    connection = await stack.postgres.connect()
    try:
        pools = {row["event_id"]: row for row in await connection.fetch("SELECT event_id, size, taken FROM pools")}
    finally:
        connection.terminate()
    async with stack.valkey.connect() as redis:
        counters = [await hash_of(redis, counters_key(event.id)) for event in events]
    return [
        _books(event, pools[event.id], fields, sights[event.id]) for event, fields in zip(events, counters, strict=True)
    ]


async def read_repairs(stack: Stack) -> list[Repaired]:
    """Every fault that reconciliation found in the course of the trial."""
    connection = await stack.postgres.connect()
    try:
        rows = await connection.fetch("SELECT fault, subject, found, expected FROM repairs ORDER BY id")
    finally:
        connection.terminate()
    return [Repaired(**row) for row in rows]


async def read_drift(settings: Settings) -> int:
    """Faults that the engine's own audit and reconciliation find at rest; that they cannot be made is one."""
    async with open_stores(settings) as stores:
        try:
            await stores.scripts.refresh()
            books = await audit(stores)
            outcomes = await reconcile(stores, fix=False)
        except Unavailable:
            return 1
    return sum(not event.in_order for event in books) + len(outcomes)


async def ask_api(stack: Stack, accounts: Sequence[Minted], rows: dict[UUID, Row]) -> dict[UUID, str]:
    """What the API says of some of the bookings, asked of one process after the other."""
    tokens = {account.id: account.token for account in accounts}
    slots = asyncio.Semaphore(QUESTIONS_AT_ONCE)
    drawn = random.sample(sorted(rows), min(QUESTIONS_MAX, len(rows)))
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, trust_env=False) as client:

        async def ask(number: int, booking: UUID) -> str:
            url = stack.urls[number % len(stack.urls)]
            headers = {"Authorization": f"Bearer {tokens[rows[booking].user_id]}"}
            async with slots:
                answer = await _once_it_listens(client, f"{url}/api/v1/bookings/{booking}/status", headers)
            return str(answer.json()["status"])  # a problem's status is a number, which no row has

        told = await asyncio.gather(*(ask(number, booking) for number, booking in enumerate(drawn)))
    return dict(zip(drawn, told, strict=True))


async def _once_it_listens(client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> httpx.Response:
    """An answer, if the process is there within a while: the last failpoint may just have killed it."""
    deadline = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
    while True:
        try:
            return await client.get(url, headers=headers)
        except httpx.TransportError:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(LISTENS_AGAIN_SECONDS)


def _books(event: Event, pool: dict[str, int], fields: dict[bytes, bytes], sight: Sight) -> Books:
    taken = {name.decode(): int(text) for name, text in fields.items() if name.startswith((b"pool:", b"user:"))}
    return Books(
        event_id=event.id,
        capacity=event.capacity,
        max_per_user=event.max_per_user,
        pool_size=pool["size"],
        pool_taken=pool["taken"],
        redis_taken=taken.pop(POOL_MAIN, 0),
        redis_users={UUID(name.removeprefix("user:")): count for name, count in taken.items()},
        sight=sight,
    )


_INTENTS_LEFT = """
    SELECT count(*) FROM intents WHERE NOT EXISTS (
        SELECT 1 FROM bookings WHERE bookings.id = intents.id AND bookings.version >= intents.version
    )
"""
