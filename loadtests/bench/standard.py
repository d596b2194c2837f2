"""The standard bench: every case in every round, then draining and waiting, all on one stack."""

from __future__ import annotations

import gc
from statistics import median
from typing import TYPE_CHECKING

from loadtests.bench.cases.cases import Bench
from loadtests.bench.cases.confirming import measure_full, measure_half
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.cases.drain import measure_drain
from loadtests.bench.report.results import Measure
from loadtests.bench.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadtests.bench.cases.cases import Case, Measured
    from loadtests.bench.load.generator import Generator
    from loadtests.bench.plan import BenchPlan
    from loadtests.bench.report.results import Results


def run(plan: BenchPlan, load: Generator, results: Results, *, folder: Path, say: Callable[[str], None]) -> None:
    """Measure what the plan asks for; `results` grows as figures come in.

    Raises:
        Unexpected: something was answered that should not have been; the figures are worth nothing.
    """
    say("starting PostgreSQL, Valkey, API and worker")
    with Stack(folder) as stack:
        size = max(plan.backlog, plan.seconds * plan.buyers_per_second)
        say(f"making {size} buyers")
        bench = Bench(stack, SignedInBuyers(stack, size=size), load, seconds=plan.seconds)
        # What is there by now stays; looking through it for garbage would hold up the clock.
        gc.collect()
        gc.freeze()
        rounds: dict[str, list[Measured]] = {}
        cases = [case for case in bench.cases() if plan.wants(case.letter)]
        for number in range(1, plan.rounds + 1):
            for case in cases:
                measured = bench.measure(case)
                rounds.setdefault(case.name, []).append(measured)
                say(_line(number, plan.rounds, case, measured))
            if plan.wants("g"):
                drained = measure_drain(bench, backlog=plan.backlog)
                results.drains.append(drained)
                say(
                    f"round {number}/{plan.rounds} (g) drained {drained.persisted_per_second:,.0f}/s,"
                    f" bare inserts {drained.bare_per_second:,.0f}/s"
                )
        results.measures = [Measure(case.name, case.letter, case.title, rounds[case.name]) for case in cases]
        if plan.wants("h"):
            _wait(bench, plan, results, say)


def _wait(bench: Bench, plan: BenchPlan, results: Results, say: Callable[[str], None]) -> None:
    """Half load in rounds, then full load for long, both by what was accepted before."""
    accepted = median(results.rates("book"))
    for number in range(1, plan.rounds + 1):
        half = measure_half(bench, per_second=accepted / 2, seconds=plan.half_seconds)
        results.halves.append(half)
        say(
            f"round {number}/{plan.rounds} (h) half load, {half.per_second:,.0f}/s: POST p99 {half.post_p99_ms:.1f} ms,"
            f" confirmed p99 {half.confirm_p99_ms:.0f} ms"
        )
    say(f"(h) full load for {plan.full_seconds} s")
    results.full = measure_full(bench, expected_per_second=accepted, seconds=plan.full_seconds)
    say(f"(h) full load, {results.full.per_second:,.0f}/s: confirmed p99 {results.full.confirm_p99_ms:.0f} ms")


def _line(number: int, rounds: int, case: Case, measured: Measured) -> str:
    return (
        f"round {number}/{rounds} ({case.letter}) {case.title}: {measured.per_second:,.0f}/s,"
        f" p99 {measured.p99_ms:.1f} ms, {measured.cpu_ms['program']:.3f} ms CPU"
    )
