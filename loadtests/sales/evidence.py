"""Everything that is known after a run, gathered from the buyers' answers, the API, Redis and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
import httpx
from msgspec import Struct
from redis.asyncio import Redis

from domain.background.audit import audit
from domain.engine import open_stores
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import partition_of_event
from loadtests.sales.answers import Answer, Outcome
from loadtests.sales.profiles import PATIENT_BUYERS
from loadtests.sales.setup import ANSWER_SECONDS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import SecretStr

    from domain.platform.settings import Settings
    from ops.evidence.bulk import Minted

SETTLED_SECONDS_MAX = 10.0
"""How long accepted bookings may take to be persisted once nobody asks any more; the engine promises 5."""

LOOK_SECONDS = 0.1
"""Between two looks at what is left to persist."""

QUESTIONS_AT_ONCE = 16
"""Bookings the API is asked about at a time: enough to keep it busy, far below any limit."""

MISSING = "missing"
"""What `Told.status` is of a booking that the API says it does not know."""

NOT_FOUND = 404


class Row(Struct, frozen=True, kw_only=True):
    """A booking as PostgreSQL has it."""

    id: UUID
    user_id: UUID
    quantity: int
    status: str
    reason: str | None = None


class Told(Struct, frozen=True):
    """What the API says of a booking now."""

    status: str
    reason: str | None = None


class Counters(Struct, frozen=True, kw_only=True):
    """What Redis says is taken, in all and by account, and how many changes it has still to persist."""

    pool: int
    users: dict[UUID, int]
    unpersisted: int = 0


class Books(Struct, frozen=True, kw_only=True):
    """The event in the engine's own audit."""

    remaining: int
    pending: int
    confirmed: int
    in_order: bool


class Evidence(Struct, frozen=True, kw_only=True):
    """What is known about one event and those who came for it.

    `buyers` are the accounts that must have asked for a ticket; the patient may have had no reason to.
    `pool_size` and `pool_taken` are PostgreSQL's, `shown_remaining` and `shown_booked` what the API shows
    of the event.
    """

    event_id: UUID
    capacity: int
    max_per_user: int
    buyers: frozenset[UUID]
    ended: str
    answers: list[Answer]
    rows: list[Row]
    told: dict[UUID, Told]
    pool_size: int
    pool_taken: int
    shown_remaining: int
    shown_booked: int
    counters: Counters
    books: Books

    @property
    def sold(self) -> int:
        """Tickets in confirmed bookings, counted from the rows."""
        return self.held.total()

    @property
    def held(self) -> Counter[UUID]:
        """Tickets in confirmed bookings by account, counted from the rows."""
        held: Counter[UUID] = Counter()
        for row in self.rows:
            if row.status == "confirmed":
                held[row.user_id] += row.quantity
        return held

    @property
    def accepted(self) -> dict[UUID, Answer]:
        """The first acceptance of each booking."""
        return accepted_of(self.answers)


def accepted_of(answers: Iterable[Answer]) -> dict[UUID, Answer]:
    """The first acceptance of each booking."""
    accepted: dict[UUID, Answer] = {}
    for answer in answers:
        if answer.outcome is Outcome.ACCEPTED and answer.booking:
            accepted.setdefault(answer.booking, answer)
    return accepted


async def gather(  # noqa: PLR0913  (what a run knows of itself)
    settings: Settings, *, url: str, event_id: UUID, accounts: list[Minted], answers: list[Answer], ended: str
) -> Evidence:
    """Wait until everything is persisted, or for too long, then ask everybody.

    `accounts` end with the patient ones, each with a token.

    Raises:
        httpx.HTTPError, OSError, RedisError, asyncpg.PostgresError, Unavailable: one of them cannot be asked.
    """
    counters = await _read_counters(settings, event_id)
    event = await _ask_event(url, event_id)
    told = await _ask_bookings(url, accounts, accepted_of(answers))
    rows, pool = await _read_rows(settings, event_id)
    return Evidence(
        event_id=event_id,
        capacity=event["capacity"],
        max_per_user=event["max_per_user"],
        buyers=frozenset(account.id for account in accounts[:-PATIENT_BUYERS]),
        ended=ended,
        answers=answers,
        rows=rows,
        told=told,
        pool_size=pool["size"],
        pool_taken=pool["taken"],
        shown_remaining=event["remaining"],
        shown_booked=event["booked"],
        counters=counters,
        books=await _audit(settings, event_id),
    )


async def _read_counters(settings: Settings, event_id: UUID) -> Counters:
    """The counters, once nothing is left to persist."""
    tag = f"{{p{partition_of_event(event_id)}}}"
    async with Redis.from_url(_known(settings.redis_url)) as redis:
        for _ in range(round(SETTLED_SECONDS_MAX / LOOK_SECONDS)):
            unpersisted = await redis.zcard(f"{tag}:unpersisted")
            if not unpersisted:
                break
            await asyncio.sleep(LOOK_SECONDS)
        fields = {name.decode(): text for name, text in (await redis.hgetall(f"{tag}:counters:{event_id}")).items()}
    taken = {name: int(text) for name, text in fields.items() if name.startswith(("pool:", "user:"))}
    return Counters(
        pool=taken.pop(POOL_MAIN, 0),
        users={UUID(name.removeprefix("user:")): count for name, count in taken.items()},
        unpersisted=unpersisted,
    )


async def _read_rows(settings: Settings, event_id: UUID) -> tuple[list[Row], Any]:
    connection = await asyncpg.connect(_known(settings.database_url))
    try:
        rows = await connection.fetch(
            "SELECT id, user_id, quantity, status, reason FROM bookings WHERE event_id = $1", event_id
        )
        pool = await connection.fetchrow(
            "SELECT size, taken FROM pools WHERE event_id = $1 AND counter = $2", event_id, POOL_MAIN
        )
    finally:
        await connection.close()
    return [Row(**row) for row in rows], pool


async def _ask_event(url: str, event_id: UUID) -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS_MAX) as client:
        answer = await client.get(f"/api/v1/events/{event_id}")
        return dict(answer.raise_for_status().json())


async def _ask_bookings(url: str, accounts: list[Minted], accepted: dict[UUID, Answer]) -> dict[UUID, Told]:
    """What each buyer is told of each of their bookings."""
    tokens = {account.id: account.token for account in accounts}
    slots = asyncio.Semaphore(QUESTIONS_AT_ONCE)
    async with httpx.AsyncClient(base_url=url, timeout=ANSWER_SECONDS_MAX) as client:

        async def ask(booking_id: UUID, token: str) -> Told:
            async with slots:
                headers = {"Authorization": f"Bearer {token}"}
                answer = await client.get(f"/api/v1/bookings/{booking_id}/status", headers=headers)
            if answer.status_code == NOT_FOUND:
                return Told(MISSING)
            body = answer.raise_for_status().json()
            return Told(body["status"], body.get("reason"))

        ids = list(accepted)
        told = await asyncio.gather(*(ask(booking_id, tokens[accepted[booking_id].buyer]) for booking_id in ids))
    return dict(zip(ids, told, strict=True))


async def _audit(settings: Settings, event_id: UUID) -> Books:
    async with open_stores(settings) as stores:
        await stores.scripts.refresh()
        (books,) = await audit(stores, event_id)
    return Books(remaining=books.remaining, pending=books.pending, confirmed=books.confirmed, in_order=books.in_order)


def _known(url: SecretStr | None) -> str:
    if url is None:
        message = "verify reads the servers themselves: set DATABASE_URL, REDIS_URL and QUEUE_URL"
        raise ValueError(message)
    return url.get_secret_value()
