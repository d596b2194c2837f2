"""The comparison: both builds run, one stands still while the other is measured, and each round swaps who begins."""

from __future__ import annotations

import gc
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

from msgspec import structs

from loadtests.bench.against.results import Comparison
from loadtests.bench.against.side import Side
from loadtests.bench.cases.cases import OwnBench
from loadtests.bench.cases.confirming import measure_half
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.cases.drain import rate_of_drain
from loadtests.bench.cases.memory import measure_memory
from loadtests.bench.load.generator import Unexpected
from loadtests.bench.machine import description

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from loadtests.bench.against.build import Build
    from loadtests.bench.cases.cases import Case
    from loadtests.bench.load.generator import Generator
    from loadtests.bench.plan import BenchPlan

    Measurement = Callable[[str], str]

MEMORY_BOOKINGS = 4_000
"""Made within the five seconds that a waiting booking may be old."""

FILL_SECONDS_MAX = 3.5
"""Into one event, for the same reason."""

FILL_CHUNK = 500

EVENTS_MAX = 40
"""Events tried while a backlog is filled."""

SIDES = ("this", "other")
"""The working tree's build and the one it is compared with."""


def compare(
    plan: BenchPlan, load: Generator, builds: tuple[Build, Build], *, folder: Path, say: Callable[[str], None]
) -> Comparison:
    """Measure both builds; the first is this one.

    Raises:
        Unexpected: something was answered that should not have been; the figures are worth nothing.
        ProcessFailed: a build does not start.
    """
    found = Comparison(
        started_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=description(),
        options=structs.asdict(plan),
        generator=load.name,
        this=builds[0].label,
        other=builds[1].label,
    )
    with ExitStack() as exits:
        turns = _Turns(plan, load, found, say)
        for name, build in zip(SIDES, builds, strict=True):
            say(f"starting {build.label}")
            (folder / name).mkdir()
            turns.add(name, exits.enter_context(Side(build, folder / name)))
        gc.collect()
        gc.freeze()
        turns.take(turns.measurements())
        if plan.wants("h"):
            turns.take([turns.measure_waits])
    return found


class _Turns:
    """Both sides, and what was found of them."""

    def __init__(self, plan: BenchPlan, load: Generator, found: Comparison, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._load = load
        self._found = found
        self._say = say
        self._sides: dict[str, Side] = {}
        self._benches: dict[str, OwnBench] = {}
        self._cases: dict[str, list[Case]] = {}

    def add(self, name: str, side: Side) -> None:
        """Make a side's crowd; leaves it standing still."""
        size = max(self._plan.backlog, self._plan.seconds * self._plan.buyers_per_second)
        self._say(f"{side.build.label}: making {size} buyers")
        bench = OwnBench(side, SignedInBuyers(side, size=size), self._load, seconds=self._plan.seconds)
        self._cases[name] = [case for case in bench.own_cases() if self._plan.wants(case.letter)]
        side.pause()
        self._sides[name], self._benches[name] = side, bench

    def measurements(self) -> list[Measurement]:
        """What is measured in each round, but waiting, in this order."""
        names = [case.name for case in self._cases["this"]]
        found: list[Measurement] = [partial(self._measure_case, name) for name in names]
        if self._plan.wants("g"):
            found.append(self._measure_drain)
        if self._plan.wants("m"):
            found.append(self._measure_memory)
        return [*found, self._measure_rest]

    def take(self, measurements: Sequence[Measurement]) -> None:
        """Every round: of each measurement one side's turn follows the other's, and the other stands still."""
        rounds = self._plan.rounds
        for number in range(rounds):
            for measure in measurements:
                said = {}
                for side in SIDES if number % 2 == 0 else reversed(SIDES):
                    said[side] = self._turn(side, measure)
                self._say(f"round {number + 1}/{rounds}: {', '.join(f'{side}: {said[side]}' for side in SIDES)}")

    def _turn(self, side: str, measure: Measurement) -> str:
        stack = self._sides[side]
        stack.resume()
        said = measure(side)
        stack.pause()
        return said

    def _measure_case(self, name: str, side: str) -> str:
        case = next(case for case in self._cases[side] if case.name == name)
        measured = self._benches[side].measure(case)
        self._found.case(name, f"({case.letter}) {case.title}").of(side).append(measured)
        return f"{name} {measured.per_second:,.0f}/s"

    def _measure_drain(self, side: str) -> str:
        per_second = _drain(self._benches[side], backlog=self._plan.backlog)
        self._found.drains.of(side).append(per_second)
        return f"drained {per_second:,.0f}/s"

    def _measure_memory(self, side: str) -> str:
        memory = measure_memory(self._benches[side], bookings=MEMORY_BOOKINGS)
        self._found.memories.of(side).append(memory)
        return f"a pending booking {memory.pending_bytes:,.0f} bytes"

    def _measure_rest(self, side: str) -> str:
        idle = self._benches[side].measure_idle()
        self._found.idles.of(side).append(idle)
        self._found.rss_bytes.of(side).append(self._sides[side].rss_bytes())
        return f"idle {sum(idle.values()):.1%} of a core"

    def measure_waits(self, side: str) -> str:
        """Half load: both sides are asked for half of what the slower one accepted."""
        booked = self._found.case("book", "").both
        per_second = min(median([each.per_second for each in rounds]) for rounds in booked) / 2
        half = measure_half(self._benches[side], per_second=per_second, seconds=self._plan.half_seconds)
        self._found.halves.of(side).append(half)
        return f"half load, {per_second:,.0f}/s: POST p99 {half.post_p99_ms:.1f} ms"


def _drain(bench: OwnBench, *, backlog: int) -> float:
    """Fill a backlog over HTTP while the workers stand still, then bookings a second while they drain it."""
    stack = bench.stack
    stack.pause_workers()
    try:
        _fill(bench, backlog=backlog)
    finally:
        stack.resume_workers()
    return rate_of_drain(stack)


def _fill(bench: OwnBench, *, backlog: int) -> None:
    """Accept as many bookings; another event each few seconds, before the first of its partition is too old."""
    asked_for, left = bench.crowd.buyers, backlog
    for _ in range(EVENTS_MAX):
        event_id, until_s, at = bench.crowd.event(), time.monotonic() + FILL_SECONDS_MAX, 0
        try:
            while left and at < len(asked_for) and time.monotonic() < until_s:
                booked = bench.crowd.book(event_id, asked_for[at : at + min(FILL_CHUNK, left)])
                at += len(booked)
                left -= len(booked)
        except Unexpected:
            # The event shares its partition with one that has waited for long: some of the chunk may be booked.
            with bench.stack.redis() as redis:
                left = backlog - bench.stack.unpersisted(redis)
        if left <= 0:
            return
    message = f"{left} of {backlog} bookings could not be made before the workers are due"
    raise Unexpected(message)
