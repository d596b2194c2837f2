"""Everything that is known after a run: what clients were told, both servers, the API, and the engine's own audit."""

from __future__ import annotations

import asyncio
import random
from functools import cached_property
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from msgspec import Struct, field, structs

from domain.background.audit import EventBooks, audit
from domain.background.reconciling import reconcile
from domain.engine import open_stores
from domain.kernel.refusals import Unavailable
from domain.platform.settings import Settings
from ops.evidence.answers import EVERYBODY_LEFT, Answer, Kind, first_acceptances
from ops.evidence.books import Snapshot, read_snapshot
from ops.evidence.servers import ANSWER_SECONDS_MAX, postgres_of, redis_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

QUESTIONS_MAX = 5_000
"""Bookings that the API is asked about unless a run says otherwise, drawn from all."""

QUESTIONS_AT_ONCE = 16
RETRY_SECONDS = 0.1

MISSING = "missing"
"""What is said of a booking without a row, or one that the API does not know."""

NOT_FOUND = 404


class Told(Struct, frozen=True):
    """What the API says of a booking at the end."""

    status: str
    reason: str | None = None


class Shown(Struct, frozen=True):
    """What the API shows of an event at the end, in tickets."""

    booked: int
    remaining: int


class Extremes(Struct):
    """The most and the fewest tickets that were seen taken in the course of a run, by each server's count.

    `counters` has the most that Redis counted of every counter.
    """

    redis_most: int = 0
    redis_least: int = 0
    postgres_most: int = 0
    counters: dict[str, int] = field(default_factory=dict)


class RecordedRepair(Struct, frozen=True):
    """A difference that the engine's reconciliation recorded in the course of the run."""

    fault: str
    subject: str
    found: int
    expected: int


class RunRecord(Struct, frozen=True, kw_only=True):
    """What a run knows of itself.

    `final_s` is the time until every accepted booking was final, None if that took too long; `final_s_max` is allowed.
    `buyers` are the accounts that must have asked for a ticket. `unanswered` requests were given up, `gave_up` names
    processes that ended by themselves. `seen` are the extremes of each event, if somebody looked during the run.
    `account_sizes` are the sizes of counters that every account has of an event, by the beginning of their names.
    `gates` are the passes of counters with a gate.

    With `faults`, requests may fail, and the sale need not be fair. With `redis_was_lost`, Redis has forgotten what it
    acknowledged, and DURABILITY=redis does not promise to keep it. With `clocks_were_set`, a deadline may have passed
    at another time than for a client.
    """

    answers: list[Answer]
    final_s: float | None
    final_s_max: float
    buyers: frozenset[UUID] = frozenset()
    ended: str = EVERYBODY_LEFT
    unanswered: int = 0
    gave_up: list[str] = []
    seen: dict[UUID, Extremes] = {}
    account_sizes: dict[str, int] = {}
    gates: dict[str, str] = {}
    faults: bool = False
    redis_was_lost: bool = False
    clocks_were_set: bool = False


class Evidence(RunRecord, frozen=True, kw_only=True, dict=True):
    """A run, and what was gathered after it.

    `audited` is the engine's own audit, None if it could not be made; `differences` are those that its reconciliation
    finds at the end. `told` and `shown` are the API's.
    """

    snapshot: Snapshot
    told: dict[UUID, Told]
    shown: dict[UUID, Shown]
    audited: list[EventBooks] | None
    differences: int
    repairs: list[RecordedRepair]

    @cached_property
    def accepted(self) -> dict[UUID, Answer]:
        """The first acceptance of each booking."""
        return first_acceptances(self.answers)

    @property
    def asked_to_cancel(self) -> set[UUID | None]:
        """Bookings whose cancellation was requested, answered or not."""
        return {answer.subject for answer in self.answers if answer.kind is Kind.CANCEL}

    def status_of(self, booking: UUID | None) -> str:
        """The status of a booking in PostgreSQL."""
        row = self.snapshot.rows.get(booking) if booking else None
        return row.status if row else MISSING


class Scene(Struct, frozen=True, kw_only=True):
    """Where evidence is gathered: the servers that `settings` lead to, API processes, and the buyers' tokens."""

    settings: Settings
    urls: list[str]
    event_ids: list[UUID]
    tokens: dict[UUID, str]
    questions_max: int = QUESTIONS_MAX


async def gather(scene: Scene, run: RunRecord) -> Evidence:
    """Read the servers, ask the API, and make the engine's own audit.

    Raises:
        httpx.HTTPError, OSError, RedisError, asyncpg.PostgresError: one of them cannot be asked.
    """
    async with redis_of(scene.settings) as redis, postgres_of(scene.settings) as postgres:
        snapshot = await read_snapshot(redis, postgres, scene.event_ids)
    owners = {answer.booking: answer.buyer for answer in run.answers if answer.accepted and answer.booking}
    owners |= {row.id: row.user_id for row in snapshot.rows.values()}
    audited, differences = await _audit(scene)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, trust_env=False) as client:
        told, shown = await _ask_bookings(client, scene, owners), await _ask_events(client, scene)
    # The repairs are read last: what a worker has repaired before the audit is no difference any more.
    async with postgres_of(scene.settings) as postgres:
        repairs = await postgres.fetch(_REPAIRS, scene.event_ids)
    return Evidence(
        **structs.asdict(run),
        snapshot=snapshot,
        told=told,
        shown=shown,
        audited=audited,
        differences=differences,
        repairs=[RecordedRepair(**repair) for repair in repairs],
    )


async def _audit(scene: Scene) -> tuple[list[EventBooks] | None, int]:
    """The engine's audit of each event, and the number of differences that its reconciliation finds."""
    async with open_stores(scene.settings) as stores:
        try:
            await stores.scripts.refresh()
            books = [(await audit(stores, event_id))[0] for event_id in scene.event_ids]
            outcomes = await reconcile(stores, fix=False)
        except Unavailable:
            return None, 0
    return books, sum(outcome.difference.event_id in scene.event_ids for outcome in outcomes)


async def _ask_bookings(client: httpx.AsyncClient, scene: Scene, owners: Mapping[UUID, UUID]) -> dict[UUID, Told]:
    """What the owners are told of their bookings, each asked of one API process or another."""
    known = sorted(booking for booking, owner in owners.items() if owner in scene.tokens)
    drawn = random.sample(known, min(scene.questions_max, len(known)))
    slots = asyncio.Semaphore(QUESTIONS_AT_ONCE)

    async def ask(number: int, booking: UUID) -> Told:
        url = scene.urls[number % len(scene.urls)]
        headers = {"Authorization": f"Bearer {scene.tokens[owners[booking]]}"}
        async with slots:
            answer = await _get(client, f"{url}/api/v1/bookings/{booking}/status", headers)
        if answer.status_code == NOT_FOUND:
            return Told(MISSING)
        body = answer.json()
        # The status of a problem is a number, which no row has.
        return Told(str(body["status"]), body.get("reason"))

    told = await asyncio.gather(*(ask(number, booking) for number, booking in enumerate(drawn)))
    return dict(zip(drawn, told, strict=True))


async def _ask_events(client: httpx.AsyncClient, scene: Scene) -> dict[UUID, Shown]:
    shown = {}
    for event_id in scene.event_ids:
        answer = await _get(client, f"{scene.urls[0]}/api/v1/events/{event_id}", {})
        body: dict[str, Any] = answer.raise_for_status().json()
        shown[event_id] = Shown(body["booked"], body["remaining"])
    return shown


async def _get(client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> httpx.Response:
    """The answer of a process, which may just have been killed and need a moment to start."""
    deadline_s = asyncio.get_running_loop().time() + ANSWER_SECONDS_MAX
    while True:
        try:
            return await client.get(url, headers=headers)
        except httpx.TransportError:
            if asyncio.get_running_loop().time() >= deadline_s:
                raise
        await asyncio.sleep(RETRY_SECONDS)


_REPAIRS = "SELECT fault, subject, found, expected FROM repairs WHERE event_id = ANY($1) ORDER BY id"
