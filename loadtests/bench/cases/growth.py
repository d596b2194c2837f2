"""Growth: the same cases with little and with much of something, on two stacks that take turns."""

from __future__ import annotations

import gc
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.cases import Bench
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.cases.drain import measure_drain
from loadtests.bench.cases.furnishing import Owner, furnish_bookings, furnish_events, furnish_records
from loadtests.bench.cases.memory import Memory, measure_memory
from loadtests.bench.cases.pages import List, Walk, walk
from loadtests.bench.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from domain.platform.settings import Settings
    from loadtests.bench.load.generator import Generator
    from loadtests.bench.plan import GrowthPlan

DRAIN = "drain"
"""The name of draining among the cases."""

BUYERS_PER_SECOND = 3_000

WITHOUT_LIMIT = {"LIMIT_DEFAULT": "999999/min"}
"""For somebody who turns ten thousand pages in a minute."""

GUESTS_LIMIT = 10
"""Guests on one page: then 100,000 of them are 10,000 pages."""


@dataclass(frozen=True)
class GrowthSide:
    """One of two stacks: how much there is of what grows, and how that comes about."""

    label: str
    settings: dict[str, str] = field(default_factory=dict)
    furnish: Callable[[Settings], None] | None = None
    listed: int = 1
    records: int = 0


@dataclass(frozen=True)
class Theme:
    """Something that grows, and the cases it might slow."""

    name: str
    title: str
    small: GrowthSide
    large: GrowthSide
    cases: tuple[str, ...]


@dataclass(frozen=True)
class Measurers:
    """What measures a side's cases once, by their names."""

    bench: Bench
    measure: dict[str, Callable[[], float]]

    @property
    def stack(self) -> Stack:
        """The side's stack."""
        return self.bench.stack


class Grown(Struct, frozen=True):
    """One case of a theme: rates of the small and the large side, round by round."""

    theme: str
    title: str
    case: str
    small_label: str
    large_label: str
    small: list[float]
    large: list[float]


class Idle(Struct, frozen=True):
    """What a side's parts use of a core while nobody asks anything."""

    theme: str
    label: str
    shares: dict[str, float]


class Growth(Struct):
    """Everything that was found."""

    grown: list[Grown] = []
    idles: list[Idle] = []
    memory: Memory | None = None
    walks: list[Walk] = []


class GrowthBench:
    """Measures themes one after the other; `growth` is filled as figures come in."""

    def __init__(self, plan: GrowthPlan, load: Generator, folder: Path, say: Callable[[str], None]) -> None:
        self.growth = Growth()
        self._plan = plan
        self._load = load
        self._folder = folder
        self._say = say
        self._owner = Owner()

    def run(self) -> None:
        """Measure every theme that the plan has.

        Raises:
            Unexpected: something was answered that should not have been.
        """
        for theme in themes_of(self._plan, self._owner):
            self._say(f"growth: {theme.title}, {theme.small.label} and {theme.large.label}")
            with ExitStack() as exits:
                small, large = (self._open(theme, side, exits) for side in (theme.small, theme.large))
                gc.collect()
                gc.freeze()
                self._compare(theme, small, large)
                large.stack.resume()
                self._look_beside(theme, large.bench)
                small.stack.resume()

    def _open(self, theme: Theme, side: GrowthSide, exits: ExitStack) -> Measurers:
        """A stack of this side, standing still."""
        plan, folder = self._plan, self._folder / f"{theme.name}-{side.label}"
        folder.mkdir()
        stack = Stack(folder, settings=WITHOUT_LIMIT | side.settings)
        if side.furnish:
            stack.furnish(side.furnish)
        exits.enter_context(stack)
        crowd = SignedInBuyers(stack, size=max(plan.backlog, plan.seconds * BUYERS_PER_SECOND))
        if side.records:
            _furnish_records(stack, crowd, side.records)
        bench = Bench(stack, crowd, self._load, seconds=plan.seconds, listed=side.listed)
        self.growth.idles.append(Idle(theme.name, side.label, bench.idle))
        self._warm_up(bench)
        opened = Measurers(bench, self._measurers(bench))
        stack.pause()
        return opened

    def _warm_up(self, bench: Bench) -> None:
        """Have as much persisted as a database at work has since its last checkpoint.

        After one PostgreSQL writes each page that it touches for the first time whole, and a furnished database
        begins with a checkpoint.
        """
        left = self._plan.warm_up
        while left:
            left -= measure_drain(bench, backlog=min(left, self._plan.backlog)).bookings

    def _compare(self, theme: Theme, small: Measurers, large: Measurers) -> None:
        """Both sides in turns, each case in every round; leaves both standing still."""
        rounds = self._plan.rounds
        rates: dict[str, tuple[list[float], list[float]]] = {case: ([], []) for case in theme.cases}
        for number in range(1, rounds + 1):
            for index, side in enumerate((small, large)):
                side.stack.resume()
                for case in theme.cases:
                    rates[case][index].append(side.measure[case]())
                side.stack.pause()
            said = ", ".join(f"{case} {few[-1]:,.0f} and {many[-1]:,.0f}/s" for case, (few, many) in rates.items())
            self._say(f"growth: {theme.title}, round {number}/{rounds}: {said}")
        self.growth.grown += [
            Grown(theme.name, theme.title, case, theme.small.label, theme.large.label, few, many)
            for case, (few, many) in rates.items()
        ]

    def _measurers(self, bench: Bench) -> dict[str, Callable[[], float]]:
        """What measures a case once, by its name. Polls of final bookings need a poll of pending ones before."""
        measurers: dict[str, Callable[[], float]] = {
            case.name: partial(lambda case: bench.measure(case).per_second, case) for case in bench.own_cases()
        }
        backlog = self._plan.backlog
        return measurers | {DRAIN: lambda: measure_drain(bench, backlog=backlog).persisted_per_second}

    def _look_beside(self, theme: Theme, large: Bench) -> None:
        """What is measured on a theme's large side only."""
        if theme.name == "events":
            self._walk(large.stack, List("GET /events", "/api/v1/events", 1, large.crowd.buyers[0].token))
        if theme.name == "bookings":
            path = f"/api/v1/bookings/{self._owner.event_id}"
            self._walk(large.stack, List("guest list", path, GUESTS_LIMIT, self._owner.token))
        if theme.name == "records":
            memory = self.growth.memory = measure_memory(large, bookings=self._plan.memory_bookings)
            self._say(
                f"growth: a booking takes {memory.pending_bytes:,.0f} bytes of Redis while it is pending,"
                f" {memory.retired_bytes:,.0f} once it was persisted"
            )

    def _walk(self, stack: Stack, pages: List) -> None:
        found = walk(stack.api.url, pages, pages=self._plan.pages)
        self.growth.walks.append(found)
        self._say(
            f"growth: {found.title}: first pages in {found.first_ms:.1f} ms,"
            f" page {found.pages:,} in {found.last_ms:.1f} ms"
        )


def themes_of(plan: GrowthPlan, owner: Owner) -> list[Theme]:
    """The themes that the plan has; `owner` is filled in when there are bookings."""
    bookings = partial(furnish_bookings, count=plan.bookings, owner=owner)
    polls = ("book", "poll_pending", "poll_final", DRAIN)
    themes = [
        Theme(
            "events",
            "events on sale",
            GrowthSide("1"),
            GrowthSide(f"{plan.events:,}", furnish=partial(furnish_events, count=plan.events)),
            ("book", "events", "event"),
        ),
        Theme("bookings", "bookings in PostgreSQL", GrowthSide("0"), GrowthSide(f"{plan.bookings:,}", furnish=bookings), polls),
        Theme("records", "records in Redis", GrowthSide("0"), GrowthSide(f"{plan.records:,}", records=plan.records), polls),
        Theme("apis", "API processes", GrowthSide("1"), GrowthSide("2", {"API_PROCESSES": "2"}), polls[:2]),
        Theme("workers", "workers", GrowthSide("1"), GrowthSide("2", {"WORKER_PROCESSES": "2"}), ("book", DRAIN)),
    ]
    return [theme for theme in themes if theme.name in plan.themes]


def _furnish_records(stack: Stack, crowd: SignedInBuyers, count: int) -> None:
    """Copies of the record of a booking that was persisted."""
    event_id = crowd.event()
    (booking_id,) = crowd.book(event_id, crowd.buyers[:1])
    stack.wait_until_drained()
    with stack.redis() as redis:
        furnish_records(redis, booking_id, event_id, count=count)
