"""Figures of a bench as they could have been, for reports and bars."""

from __future__ import annotations

from loadtests.bench.cases.cases import Measured
from loadtests.bench.cases.confirming import Full, Half
from loadtests.bench.cases.drain import Drained
from loadtests.bench.cases.growth import Grown, Growth, Idle
from loadtests.bench.cases.memory import Memory
from loadtests.bench.cases.pages import Walk
from loadtests.bench.cases.rush import Rush
from loadtests.bench.report.results import Measure, Results


def measured(per_second: float) -> Measured:
    return Measured(per_second=per_second, p50_ms=5.0, p99_ms=9.0, count=100, cpu_ms={"program": 0.25, "valkey": 0.05})


def measure(name: str, *per_second: float) -> Measure:
    return Measure(name, "x", f"the case {name}", [measured(each) for each in per_second])


def half(*, confirm_p99_ms: float = 100.0, post_p99_ms: float = 15.0) -> Half:
    return Half(
        per_second=500.0,
        post_p50_ms=4.0,
        post_p99_ms=post_p99_ms,
        late_p99_ms=1.0,
        confirm_p50_ms=40.0,
        confirm_p99_ms=confirm_p99_ms,
    )


def full(backlog: list[int], *, per_second: float = 1_000.0) -> Full:
    return Full(
        seconds=60.0,
        per_second=per_second,
        post_p99_ms=80.0,
        confirm_p50_ms=70.0,
        confirm_p99_ms=300.0,
        at_s=[float(second) for second in range(len(backlog))],
        backlog=backlog,
        shares={"api": 0.99, "worker": 0.4},
    )


def results(*measures: Measure) -> Results:
    return Results(
        started_at="2030-01-01 00:00 UTC",
        machine={"cores": 2},
        options={"rounds": 3},
        generator="wrk",
        measures=list(measures),
    )


def everything() -> Results:
    """A run in which all was measured."""
    found = results(measure("bare_post", 4_000.0, 5_000.0), measure("book", 3_000.0, 4_000.0))
    found.drains = [
        Drained(bookings=20_000, persisted_per_second=6_000.0, bare_per_second=12_000.0, cpu_ms={"worker": 0.1})
    ]
    found.halves = [half()]
    found.full = full([100, 120, 110])
    found.growth = Growth(
        grown=[Grown("events", "events on sale", "book", "1", "10,000", [1_000.0, 1_100.0], [950.0, 1_000.0])],
        idles=[Idle("events", "1", {"worker": 0.05})],
        memory=Memory(bookings=1_000, pending_bytes=700.0, retired_bytes=500.0),
        walks=[Walk("guest list", 200, [2.0, 2.1], first_ms=2.0, last_ms=2.1)],
    )
    found.rush = Rush(
        profile="ShmooCon",
        buyers=3_456,
        requests=13_000,
        requests_per_second_peak=3_400,
        accepted=260,
        accepted_p50_ms=300.0,
        accepted_p99_ms=900.0,
        refused=12_000,
        held_seconds=None,
        confirmed_p99_ms=200.0,
        failed={"poll: failed": 2},
        violated=["nothing_is_oversold"],
        generator_share_peak=0.7,
    )
    return found
