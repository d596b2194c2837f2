"""Growth: the same cases with little and with much of something, on two stacks that take turns."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from loadtests.bench.cases.cases import OwnBench
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.cases.drain import measure_drain, measure_memory
from loadtests.bench.cases.furnishing import Owner, furnish_bookings, furnish_events, furnish_records
from loadtests.bench.cases.pages import List, walk
from loadtests.bench.report.results import OTHER, THIS, Measurements
from loadtests.bench.stack import BenchStack
from loadtests.bench.turns import Side, case_measurements, drain_measurement, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from domain.platform.settings import Settings
    from loadtests.bench.plan import GrowthPlan
    from loadtests.bench.turns import BenchRun

BUYERS_PER_SECOND = 3_000

WITHOUT_LIMIT = {"LIMIT_DEFAULT": "999999/min"}
"""For a client that turns ten thousand pages in a minute."""

GUESTS_LIMIT = 10
"""Guests on one page: then 100,000 of them are 10,000 pages."""


@dataclass(frozen=True)
class Amount:
    """One of two stacks: how much it has of what grows, and where that comes from."""

    label: str
    settings: dict[str, str] = field(default_factory=dict)
    furnish: Callable[[Settings], Coroutine[None, None, None]] | None = None
    listed: int = 1
    records: int = 0


@dataclass(frozen=True)
class Theme:
    """Something that grows, and the cases it might slow down."""

    name: str
    title: str
    small: Amount
    large: Amount
    cases: tuple[str, ...]


class GrowthBench:
    """Measures themes one after the other."""

    def __init__(self, run: BenchRun, plan: GrowthPlan) -> None:
        self._run = run
        self._plan = plan
        self._owner = Owner()

    def measure(self) -> None:
        """Measure every theme of the plan.

        Raises:
            Unexpected: an answer was wrong.
        """
        for theme in themes_of(self._plan, self._owner):
            self._run.say(f"growth: {theme.title}, {theme.small.label} and {theme.large.label}")
            found = Measurements(title=theme.title, labels={THIS: theme.large.label, OTHER: theme.small.label})
            self._run.results.growth.append(found)
            with ExitStack() as exits:
                sides = {}
                for name, amount in ((OTHER, theme.small), (THIS, theme.large)):
                    side = sides[name] = self._open(theme, amount, exits)
                    found.add("rest", "at rest", side.bench.measure_rest(), side=name)
                    side.stack.pause()
                take_turns(found, sides, rounds=self._plan.rounds, say=self._run.say)
                with sides[THIS].turn():
                    self._measure_large(theme, found, sides[THIS].bench)

    def _open(self, theme: Theme, amount: Amount, exits: ExitStack) -> Side:
        """A stack with this amount."""
        plan, folder = self._plan, self._run.folder / f"{theme.name}-{amount.label}"
        folder.mkdir()
        stack = BenchStack(folder, settings=WITHOUT_LIMIT | amount.settings)
        if amount.furnish:
            stack.furnish(amount.furnish)
        exits.enter_context(stack)
        buyers = max(plan.backlog, plan.seconds * BUYERS_PER_SECOND)
        crowd = SignedInBuyers(stack, size=buyers)
        bench = OwnBench(stack, crowd, seconds=plan.seconds, connections=self._run.connections, listed=amount.listed)
        if amount.records:
            _furnish_records(bench, amount.records)
        self._warm_up(bench)
        cases = [case for case in bench.own_cases() if case.name in theme.cases]
        measurements = case_measurements(bench, cases)
        if "drain" in theme.cases:
            measurements.append(drain_measurement(bench, backlog=plan.backlog, bare=False))
        return Side(stack, bench, measurements)

    def _warm_up(self, bench: OwnBench) -> None:
        """Persist as many bookings as a busy database has persisted since its last checkpoint.

        After a checkpoint, PostgreSQL writes each page as a whole when it first changes, and a newly furnished
        database begins with a checkpoint.
        """
        left = self._plan.warm_up
        while left > 0:
            backlog = min(left, self._plan.backlog)
            measure_drain(bench, backlog=backlog, bare=False)
            left -= backlog

    def _measure_large(self, theme: Theme, found: Measurements, large: OwnBench) -> None:
        """What is measured on a theme's large side only."""
        if theme.name == "events":
            self._walk(large.stack, List("GET /events", "/api/v1/events", 1, large.crowd.buyers[0].token))
        if theme.name == "bookings":
            path = f"/api/v1/bookings/{self._owner.event_id}"
            self._walk(large.stack, List("guest list", path, GUESTS_LIMIT, self._owner.token))
        if theme.name == "records":
            memory = measure_memory(large, bookings=self._plan.memory_bookings)
            found.add("memory", "memory of Redis", memory)

    def _walk(self, stack: BenchStack, pages: List) -> None:
        found = walk(stack.api.url, pages, pages=self._plan.pages)
        self._run.results.walks.append(found)
        self._run.say(
            f"growth: {found.title}: first pages in {found.first_ms:.1f} ms,"
            f" page {found.pages:,} in {found.last_ms:.1f} ms"
        )


def themes_of(plan: GrowthPlan, owner: Owner) -> list[Theme]:
    """The themes of the plan; `owner` is filled in when there are bookings."""
    bookings = partial(furnish_bookings, count=plan.bookings, owner=owner)
    polls = ("book", "poll_pending", "poll_final", "drain")
    reads = ("book", "events", "event")
    events = partial(furnish_events, count=plan.events)
    themes = [
        Theme("events", "events on sale", Amount("1"), Amount(f"{plan.events:,}", furnish=events), reads),
        Theme("bookings", "bookings in PostgreSQL", Amount("0"), Amount(f"{plan.bookings:,}", furnish=bookings), polls),
        Theme("records", "records in Redis", Amount("0"), Amount(f"{plan.records:,}", records=plan.records), polls),
        Theme("apis", "API processes", Amount("1"), Amount("2", {"API_PROCESSES": "2"}), polls[:2]),
        Theme("workers", "workers", Amount("1"), Amount("2", {"WORKER_PROCESSES": "2"}), ("book", "drain")),
    ]
    return [theme for theme in themes if theme.name in plan.themes]


def _furnish_records(bench: OwnBench, count: int) -> None:
    """Copies of the record of a booking that was persisted."""
    event_id = bench.crowd.event()
    (booking_id,) = bench.crowd.book(event_id, bench.crowd.buyers[:1])
    bench.stack.wait_until_drained()
    with bench.stack.redis() as redis:
        furnish_records(redis, booking_id, event_id, count=count)
