"""The standard bench of one stack, and the comparison of two builds: the same cases, draining, and waiting."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from math import ceil
from statistics import median
from typing import TYPE_CHECKING

from loadtests.bench.against.build import BuildStack
from loadtests.bench.cases.cases import Bench, OwnBench
from loadtests.bench.cases.confirming import measure_full, measure_half
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.cases.drain import measure_memory
from loadtests.bench.report.results import OTHER, THIS
from loadtests.bench.stack import BenchStack
from loadtests.bench.turns import (
    Measurement,
    Side,
    case_measurements,
    drain_measurement,
    take_turns,
)

if TYPE_CHECKING:
    from loadtests.bench.against.build import Build
    from loadtests.bench.plan import BenchPlan
    from loadtests.bench.turns import BenchRun


def measure(run: BenchRun, plan: BenchPlan) -> None:
    """Measure what the plan asks for on one stack.

    Raises:
        Unexpected: an answer was wrong; the figures are worth nothing.
    """
    run.say("starting PostgreSQL, Valkey, API and worker")
    with BenchStack(run.folder) as stack:
        bench = Bench(stack, _crowd(stack, run, plan), seconds=plan.seconds, connections=plan.connections)
        measurements = case_measurements(bench, [case for case in bench.cases() if plan.wants(case.letter)])
        if plan.wants("g"):
            measurements.append(drain_measurement(bench, backlog=plan.backlog, bare=True))
        side = Side(stack, bench, measurements)
        take_turns(run.results.cases, {THIS: side}, rounds=plan.rounds, say=run.say)
        if plan.wants("h"):
            _measure_half({THIS: side}, run, plan)
            run.say(f"(h) full load for {plan.full_seconds} s")
            accepted = median(run.results.cases.values("book", "per_second"))
            with side.turn():
                figures, backlog = measure_full(bench, expected_per_second=accepted, seconds=plan.full_seconds)
            run.results.cases.add("full", "(h) full load", figures)
            run.results.backlog = backlog


def compare(run: BenchRun, plan: BenchPlan, builds: tuple[Build, Build]) -> None:
    """Measure two builds in turns; the first is this one.

    Raises:
        Unexpected: an answer was wrong; the figures are worth nothing.
        ProcessFailed: a build does not start.
    """
    sides = {}
    with ExitStack() as exits:
        for name, build in zip((THIS, OTHER), builds, strict=True):
            run.say(f"starting {build.label}")
            run.results.cases.labels[name] = build.label
            (run.folder / name).mkdir()
            stack = exits.enter_context(BuildStack(build, run.folder / name))
            bench = OwnBench(stack, _crowd(stack, run, plan), seconds=plan.seconds, connections=plan.connections)
            sides[name] = Side(stack, bench, _of_any_build(bench, plan))
            stack.pause()
        take_turns(run.results.cases, sides, rounds=plan.rounds, say=run.say)
        if plan.wants("h"):
            _measure_half(sides, run, plan)


def _crowd(stack: BenchStack, run: BenchRun, plan: BenchPlan) -> SignedInBuyers:
    buyers = max(plan.backlog, ceil(plan.seconds * plan.buyers_per_second))
    run.say(f"making {buyers} buyers")
    return SignedInBuyers(stack, size=buyers)


def _of_any_build(bench: OwnBench, plan: BenchPlan) -> list[Measurement]:
    """What can be measured of any build."""
    measurements = case_measurements(bench, [case for case in bench.own_cases() if plan.wants(case.letter)])
    if plan.wants("g"):
        measurements.append(drain_measurement(bench, backlog=plan.backlog, bare=False))
    if plan.wants("m"):
        memory = partial(measure_memory, bench, bookings=plan.memory_bookings)
        measurements.append(Measurement("memory", "(m) memory of Redis", memory))
    return [*measurements, Measurement("rest", "at rest", bench.measure_rest)]


def _measure_half(sides: dict[str, Side], run: BenchRun, plan: BenchPlan) -> None:
    """Half load: every side is asked for half of what the slowest accepted."""
    found = run.results.cases
    per_second = min(median(found.values("book", "per_second", side)) for side in sides) / 2
    halves = {}
    for name, side in sides.items():
        half = partial(measure_half, side.bench, per_second=per_second, seconds=plan.half_seconds)
        halves[name] = Side(side.stack, side.bench, [Measurement("half", "(h) half load", half)])
    take_turns(found, halves, rounds=plan.rounds, say=run.say)
