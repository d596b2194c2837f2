"""Invented figures of a bench, for reports and bars."""

from __future__ import annotations

from msgspec import structs

from loadtests.bench.cases.confirming import growth_s
from loadtests.bench.cases.pages import Walk
from loadtests.bench.cases.rush import Rush
from loadtests.bench.report.results import OTHER, THIS, Figures, Measurements, Results, Series
from loadtests.sales.figures import Figures as RushFigures
from loadtests.sales.figures import Rate, Times
from loadtests.sales.profiles import SHMOOCON_2019


def measured(per_second: float) -> Figures:
    cpu_ms = {"cpu_ms.program": 0.25, "cpu_ms.valkey": 0.05}
    return {"per_second": per_second, "p50_ms": 5.0, "p99_ms": 9.0, "count": 100.0} | cpu_ms


def measure(name: str, *per_second: float) -> dict[str, Series]:
    return {name: Series(f"(x) the case {name}", {THIS: [measured(each) for each in per_second]})}


def half(*, confirm_p99_ms: float = 100.0, post_p99_ms: float = 15.0) -> Figures:
    confirm = {"confirm_p50_ms": 40.0, "confirm_p99_ms": confirm_p99_ms}
    return {"per_second": 500.0, "post_p50_ms": 4.0, "post_p99_ms": post_p99_ms, "late_p99_ms": 1.0} | confirm


def halves(*rounds: Figures) -> dict[str, Series]:
    return {"half": Series("(h) half load", {THIS: list(rounds)})}


def full(backlog: list[int], *, per_second: float = 1_000.0) -> Figures:
    confirm = {"confirm_p50_ms": 70.0, "confirm_p99_ms": 300.0}
    growth = {"backlog_max": float(max(backlog)), "growth_s": growth_s(backlog, per_second=per_second)}
    return {"per_second": per_second, "seconds": 60.0, "post_p99_ms": 80.0, "core_percent.api": 99.0} | confirm | growth


def results(*series: dict[str, Series]) -> Results:
    return Results(
        started_at="2030-01-01 00:00 UTC",
        machine={"cores": 2},
        options={"rounds": 3},
        cases=Measurements(series={name: each for one in series for name, each in one.items()}),
    )


def rush_figures() -> RushFigures:
    times = Times(count=13_000, p50_ms=5.0, p95_ms=8.0, p99_ms=9.0)
    rates = {
        "requests": Rate(per_second=1_300.0, per_second_peak=2_000, times=times),
        "poll: failed": Rate(per_second=1.0, per_second_peak=2, times=structs.replace(times, count=2)),
    }
    return RushFigures(
        rates=rates, held_seconds=None, accepted_per_second=0.0, seen=None, confirmed=times, generator_share_peak=0.5
    )


def everything() -> Results:
    """A run in which all was measured."""
    found = results(measure("bare_post", 4_000.0, 5_000.0), measure("book", 3_000.0, 4_000.0))
    drained = {"per_second": 6_000.0, "bookings": 20_000.0, "cpu_us.worker": 100.0, "bare_per_second": 12_000.0}
    found.cases.add("drain", "(g) drained", drained)
    found.cases.add("half", "(h) half load", half())
    found.backlog = [(0.0, 100), (1.0, 120), (2.0, 110)]
    found.cases.add("full", "(h) full load", full([100, 120, 110]))
    growth = Measurements(title="events on sale", labels={THIS: "10,000", OTHER: "1"})
    for small, large in ((1_000.0, 950.0), (1_100.0, 1_000.0)):
        growth.add("book", "(b) bookings", measured(small), side=OTHER)
        growth.add("book", "(b) bookings", measured(large), side=THIS)
    growth.add("rest", "at rest", {"idle_percent.worker": 5.0}, side=OTHER)
    growth.add("rest", "at rest", {"idle_percent.worker": 6.0}, side=THIS)
    growth.add("memory", "memory of Redis", {"pending_bytes": 700.0, "retired_bytes": 500.0})
    found.growth = [growth]
    found.walks = [Walk("guest list", 200, [2.0, 2.1], first_ms=2.0, last_ms=2.1)]
    found.rush = Rush(profile=SHMOOCON_2019, figures=rush_figures(), violated=["nothing_is_oversold"])
    return found
