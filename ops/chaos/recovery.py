"""The time until sales resume after a loss of Redis, and the delay of a booking by a dead worker.

Measured apart from the storm, with one fault at a time, on a full box office: EVENTS events on sale and PAST_EVENTS
closed ones with BOOKED bookings, and PENDING bookings that are accepted and not yet persisted. Redis is killed, and
brought back as it was, as it was some seconds ago, or empty; workers are killed or stopped while they hold work. No
process has to start for this: workers outlive Redis.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import suppress
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
from msgspec import Struct

from domain.accounts.accounts import Role
from domain.background.rebuilding import in_order
from domain.engine import open_stores
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import Unavailable
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from ops.chaos.faults import BLOCKS
from ops.chaos.schedule import WORKER_NAMES, FaultKind
from ops.chaos.stack.stack import TrialStack
from ops.evidence.bulk import closed_event, event_on_sale, mint, write_bookings, write_events

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from domain.engine import Stores
    from domain.sales.events import Event
    from ops.evidence.bulk import Minted

DURABILITY = "postgres"
"""The mode that survives an empty Redis."""

REDIS_RETURNS = (FaultKind.REDIS_KILL, FaultKind.REDIS_STALE, FaultKind.REDIS_EMPTY)

EVENTS = 1_000
PAST_EVENTS = 100_000
BOOKED = 1_000_000
"""Confirmed bookings, half of them of events on sale."""

PENDING = 5_000
BUYERS = 500
CAPACITY = 10_000
BOOKED_AT_ONCE = 250
"""Requests at once while the pending bookings are made. They must be made before they are too old."""

WARMED_AT_ONCE = 50
"""Requests at once while terms are read from PostgreSQL for the first time."""

SALE_SECONDS_MAX = 3.0
"""The promise: from the return of Redis until a booking is accepted."""

ALL_SALES_SECONDS_MAX = 6.0
"""From the return of Redis until each of PROBED events, spread over all events on sale, has accepted a booking."""

PROBED = 20

PERSISTED_SECONDS_MAX = 1.0
"""The promise: from a booking until it is confirmed, while a worker that held work is dead or stopped."""

WORKER_ROUNDS = 10
LOOK_SECONDS = 0.01
GIVE_UP_SECONDS = 60.0
STALE_SECONDS = 5.0
"""Copies of the disk are made every two seconds, so one is then older than the bookings."""


class Recovered(Struct, frozen=True, kw_only=True):
    """One measurement: `seconds`, of which `most` are allowed."""

    what: str
    seconds: float
    most: float

    @property
    def kept(self) -> bool:
        """Whether it took no longer than allowed."""
        return self.seconds <= self.most


async def measure(folder: Path, say: Callable[[str], None]) -> list[Recovered]:
    """Make all measurements, and print each.

    Raises:
        NotReady, ServerFailed: there was nothing to measure.
    """
    stack = TrialStack(folder, durability=DURABILITY)
    found = []
    async with stack.servers():
        office = await _open_office(stack)
        stack.arm({})
        async with (
            stack.running(),
            open_stores(stack.settings()) as office.stores,
            httpx.AsyncClient(timeout=GIVE_UP_SECONDS, trust_env=False) as office.client,
        ):
            losses = [partial(office.lose_redis, kind) for kind in REDIS_RETURNS]
            losses += [partial(office.lose_a_worker, number) for number in (signal.SIGKILL, signal.SIGSTOP)]
            for lose in losses:
                measured = await lose()
                found += measured
                say("\n".join(map(_line, measured)))
    return found


async def _open_office(stack: TrialStack) -> _Office:
    settings = stack.settings()
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    buyers = await mint(settings, role=Role.ATTENDEE, count=BUYERS)
    events = [
        event_on_sale(organizer_id=organizer.id, title=f"Event {number}", capacity=CAPACITY, max_per_user=100)
        for number in range(EVENTS)
    ]
    past = [
        closed_event(organizer_id=organizer.id, title=f"Past event {number}", capacity=CAPACITY)
        for number in range(PAST_EVENTS)
    ]
    for some in (events, past):
        await write_events(settings, some)
        await write_bookings(settings, some, buyers, each=BOOKED // 2 // len(some))
    return _Office(stack, buyers, events)


class _Office:
    """A full box office."""

    stores: Stores
    client: httpx.AsyncClient

    def __init__(self, stack: TrialStack, buyers: list[Minted], events: list[Event]) -> None:
        self._stack = stack
        self._buyers = buyers
        self._events = events

    async def lose_redis(self, kind: FaultKind) -> list[Recovered]:
        """Kill a full Redis and bring it back; seconds from its first answer to a sale, and to sales of all events."""
        await _until(lambda: in_order(self.stores))
        # Once for each event, so that this process knows its terms.
        await self._fill(EVENTS, at_once=WARMED_AT_ONCE)
        await _until(self._persisted)
        await asyncio.sleep(STALE_SECONDS)
        self._signal_workers(signal.SIGSTOP)
        await self._fill(PENDING)
        pending = await self._unpersisted_count()
        async with BLOCKS[kind](self._stack, "redis"):
            self._signal_workers(signal.SIGCONT)
        began_s = time.monotonic()
        probed = self._events[:: EVENTS // PROBED]
        sold_s = await asyncio.gather(*(self._until_sold(event) for event in probed))
        await _until(self._persisted)
        first_s, last_s = min(sold_s) - began_s, max(sold_s) - began_s
        office = f"{EVENTS:,} events on sale, {PAST_EVENTS:,} past ones, {BOOKED:,} bookings, {pending:,} pending"
        return [
            Recovered(what=f"{kind}, {office}: until a sale", seconds=round(first_s, 3), most=SALE_SECONDS_MAX),
            Recovered(what=f"{kind}: until all events sell", seconds=round(last_s, 3), most=ALL_SALES_SECONDS_MAX),
        ]

    async def lose_a_worker(self, number: signal.Signals) -> list[Recovered]:
        """Kill or stop a worker in the middle of its work, again and again; the longest that a new booking waited."""
        one_of_each_partition = {partition_of_event(event.id): event for event in self._events}.values()
        await _until(lambda: in_order(self.stores))
        # Bookings of the measurement before do not count in this one.
        await _until(self._persisted)
        longest_s = 0.0
        for _ in range(WORKER_ROUNDS):
            worker = self._stack.processes[WORKER_NAMES[0]]
            filling = asyncio.create_task(self._book(self._events[:BOOKED_AT_ONCE]))
            await asyncio.sleep(LOOK_SECONDS * 5)
            worker.signal(number)
            await filling
            began_s = time.monotonic()
            await self._book(one_of_each_partition)
            await _until(self._persisted)
            longest_s = max(longest_s, time.monotonic() - began_s)
            worker.signal(signal.SIGCONT)
            await asyncio.sleep(1)
        how = "killed" if number is signal.SIGKILL else "stopped"
        what = f"worker {how} in the middle of its work: until new bookings are confirmed, longest of {WORKER_ROUNDS}"
        return [Recovered(what=what, seconds=round(longest_s, 3), most=PERSISTED_SECONDS_MAX)]

    async def _fill(self, count: int, *, at_once: int = BOOKED_AT_ONCE) -> None:
        """Have so many bookings accepted, spread over the events."""
        for first in range(0, count, at_once):
            await self._book([self._events[number % EVENTS] for number in range(first, first + at_once)])

    async def _book(self, events: Iterable[Event]) -> None:
        reserve = self.stores.box_office.reserve
        buyers = cycle(self._buyers)
        await asyncio.gather(
            *(
                reserve(Ask.trusted(buyer.id), TicketOrder(event.id, 1))
                for event, buyer in zip(events, buyers, strict=False)
            )
        )

    def _signal_workers(self, number: signal.Signals) -> None:
        for name in WORKER_NAMES:
            self._stack.processes[name].signal(number)

    async def _unpersisted_count(self) -> int:
        """Ask Redis alone: reading PostgreSQL takes longer than what is measured."""
        return sum(pulse.unpersisted_count for pulse in await self.stores.unpersisted.pulses())

    async def _until_sold(self, event: Event) -> float:
        """Ask for a ticket again and again, as a buyer does who is told to retry; returns when it was sold."""
        headers = {"Authorization": f"Bearer {self._buyers[0].token}"}
        order = {"event_id": str(event.id)}
        url = f"{self._stack.urls[0]}/api/v1/bookings"

        async def sold() -> bool:
            key = {"Idempotency-Key": uuid4().hex}
            return (await self.client.post(url, json=order, headers=headers | key)).is_success

        await _until(sold)
        return time.monotonic()

    async def _persisted(self) -> bool:
        return not await self._unpersisted_count()


async def _until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition, for at most GIVE_UP_SECONDS; an inventory that is unavailable is asked again."""
    deadline_s = time.monotonic() + GIVE_UP_SECONDS
    while time.monotonic() < deadline_s:
        with suppress(Unavailable):
            if await condition():
                return
        await asyncio.sleep(LOOK_SECONDS)


def _line(found: Recovered) -> str:
    return f"{'ok' if found.kept else 'FAIL':4} {found.seconds:6.2f} s, at most {found.most:.0f}: {found.what}"
