"""How soon there are sales again after Redis was gone, and how little one dead worker matters.

Measured apart from the storm, with one fault at a time: a full box office (EVENTS events, PENDING bookings
accepted and not yet persisted), Redis killed, and brought back as it was, as it was some seconds ago, or
empty; workers killed or stopped while they hold work. Processes are forked, see `nursery.py`, but none
has to start for this: workers outlive Redis.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
from msgspec import Struct

from domain.accounts.accounts import Role
from domain.background.rebuilding import in_order
from domain.engine import open_stores
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import Unavailable
from ops.chaos.schedule import WORKER_NAMES, FaultKind
from ops.chaos.stack.servers import kill, start
from ops.chaos.stack.stack import Stack
from ops.evidence.books import read_unpersisted
from ops.evidence.bulk import event_on_sale, mint, write_events
from ops.evidence.servers import redis_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from domain.engine import Stores
    from domain.sales.events import Event
    from ops.evidence.bulk import Minted

DURABILITY = "postgres"
"""The one that survives an empty Redis."""

EVENTS = 1_000
PENDING = 5_000
BUYERS = 100
CAPACITY = 10_000
BOOKED_AT_ONCE = 250
"""Requests under way together while the pending bookings are made: they must be made before they are too old."""

WARMED_AT_ONCE = 50
"""The same while terms are read from PostgreSQL for the first time."""

SALE_SECONDS_MAX = 3.0
"""P11: from Redis back until a booking is accepted."""

PERSISTED_SECONDS_MAX = 1.0
"""P10: from a booking until it is confirmed, while a worker that held work is dead or stands still."""

WORKER_ROUNDS = 10
LOOK_SECONDS = 0.01
GIVE_UP_SECONDS = 60.0
STALE_SECONDS = 5.0
"""Copies of the disk are made every two seconds; by then one is from before the bookings."""


class Recovered(Struct, frozen=True, kw_only=True):
    """One measurement. `seconds` until what was waited for, of which `most` are allowed."""

    what: str
    seconds: float
    most: float

    @property
    def kept(self) -> bool:
        """Whether it was soon enough."""
        return self.seconds <= self.most


async def measure(folder: Path, say: Callable[[str], None]) -> list[Recovered]:
    """All measurements, each said as it is made.

    Raises:
        NotReady, ServerFailed: there was nothing to measure.
    """
    stack = Stack(folder, durability=DURABILITY)
    async with stack.servers():
        office = await _open_office(stack)
        stack.arm({})
        async with stack.running(), open_stores(stack.settings()) as stores, office.door():
            found = []
            for kind in (FaultKind.REDIS_KILL, FaultKind.REDIS_STALE, FaultKind.REDIS_EMPTY):
                found.append(await office.lose_redis(stores, kind))
                say(_line(found[-1]))
            for number in (signal.SIGKILL, signal.SIGSTOP):
                found.append(await office.lose_a_worker(stores, number))
                say(_line(found[-1]))
    return found


async def _open_office(stack: Stack) -> _Office:
    settings = stack.settings()
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    buyers = await mint(settings, role=Role.ATTENDEE, count=BUYERS)
    events = [
        event_on_sale(organizer_id=organizer.id, title=f"Event {number}", capacity=CAPACITY, max_per_user=100)
        for number in range(EVENTS)
    ]
    await write_events(settings, events)
    return _Office(stack, buyers, events)


class _Office:
    """A full box office, and a buyer at its door."""

    def __init__(self, stack: Stack, buyers: list[Minted], events: list[Event]) -> None:
        self._stack = stack
        self._buyers = buyers
        self._events = events
        self._client: httpx.AsyncClient

    @asynccontextmanager
    async def door(self) -> AsyncIterator[None]:
        """Let somebody stand at the door during the block."""
        async with httpx.AsyncClient(timeout=GIVE_UP_SECONDS, trust_env=False) as self._client:
            yield

    async def lose_redis(self, stores: Stores, kind: FaultKind) -> Recovered:
        """Kill a full Redis, bring it back; seconds from its first answer to the first sale."""
        valkey = self._stack.valkey
        await self._until_in_order(stores)
        # Once for each event, so that this process knows its terms.
        await self._fill(stores, EVENTS, at_once=WARMED_AT_ONCE)
        await self._until_persisted(stores)
        await asyncio.sleep(STALE_SECONDS)
        self._signal_workers(signal.SIGSTOP)
        await self._fill(stores, PENDING)
        async with redis_of(self._stack.settings()) as redis:
            pending = len(await read_unpersisted(redis, [event.id for event in self._events]))
        await kill(valkey.server)
        if kind is FaultKind.REDIS_EMPTY:
            valkey.empty()
        elif kind is FaultKind.REDIS_STALE:
            valkey.go_back()
        self._signal_workers(signal.SIGCONT)
        await start(valkey.server)
        began_s = time.monotonic()
        await self._until_sold()
        seconds = time.monotonic() - began_s
        await self._until_persisted(stores)
        what = f"{kind}, with {EVENTS:,} events and {pending:,} pending bookings: until a sale"
        return Recovered(what=what, seconds=round(seconds, 3), most=SALE_SECONDS_MAX)

    async def lose_a_worker(self, stores: Stores, number: signal.Signals) -> Recovered:
        """Kill or stop a worker in the middle of its work, again and again; the longest that a new booking waited."""
        events = {partition_of_event(event.id): event for event in self._events}
        await self._until_in_order(stores)
        # What was lost before this is not waited for in it.
        await self._until_persisted(stores)
        longest_s = 0.0
        for _ in range(WORKER_ROUNDS):
            worker = self._stack.processes[WORKER_NAMES[0]]
            filling = asyncio.create_task(self._book(stores, self._events[:BOOKED_AT_ONCE]))
            await asyncio.sleep(LOOK_SECONDS * 5)
            worker.signal(number)
            await filling
            began_s = time.monotonic()
            await self._book(stores, [events[partition] for partition in range(PARTITIONS)])
            await self._until_persisted(stores)
            longest_s = max(longest_s, time.monotonic() - began_s)
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(1)
        how = "killed" if number is signal.SIGKILL else "stopped"
        what = f"worker {how} in the middle of its work: until new bookings are confirmed, longest of {WORKER_ROUNDS}"
        return Recovered(what=what, seconds=round(longest_s, 3), most=PERSISTED_SECONDS_MAX)

    async def _fill(self, stores: Stores, count: int, *, at_once: int = BOOKED_AT_ONCE) -> None:
        """Have so many bookings accepted, spread over the events."""
        for first in range(0, count, at_once):
            await self._book(stores, [self._events[number % EVENTS] for number in range(first, first + at_once)])

    async def _book(self, stores: Stores, events: Sequence[Event]) -> None:
        await asyncio.gather(
            *(
                stores.box_office.reserve(
                    event_id=event.id,
                    user_id=self._buyers[number % BUYERS].id,
                    quantity=1,
                    idempotency_key=None,
                )
                for number, event in enumerate(events)
            )
        )

    def _signal_workers(self, number: signal.Signals) -> None:
        for name in WORKER_NAMES:
            self._stack.processes[name].signal(number)

    async def _until_sold(self) -> None:
        """Ask for a place again and again, as a buyer does who is told to retry."""
        deadline_s = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline_s:
            answer = await self._client.post(
                f"{self._stack.urls[0]}/api/v1/bookings",
                json={"event_id": str(self._events[0].id)},
                headers={"Authorization": f"Bearer {self._buyers[0].token}", "Idempotency-Key": uuid4().hex},
            )
            if answer.is_success:
                return
            await asyncio.sleep(LOOK_SECONDS)

    @staticmethod
    async def _until_persisted(stores: Stores) -> None:
        """Ask Redis alone: reading what PostgreSQL has takes longer than what is measured."""
        deadline_s = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline_s:
            try:
                if not sum(pulse.unpersisted_count for pulse in await stores.inventory.pulses()):
                    return
            except Unavailable:
                pass
            await asyncio.sleep(LOOK_SECONDS)

    @staticmethod
    async def _until_in_order(stores: Stores) -> None:
        deadline_s = time.monotonic() + GIVE_UP_SECONDS
        while time.monotonic() < deadline_s:
            try:
                if await in_order(stores):
                    return
            except Unavailable:
                pass
            await asyncio.sleep(LOOK_SECONDS)


def _line(found: Recovered) -> str:
    return f"{'ok' if found.kept else 'FAIL':4} {found.seconds:6.2f} s, at most {found.most:.0f}: {found.what}"
