"""From 202 to confirmed: how long that takes at half and at full load, and whether the backlog grows."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from statistics import median
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop
from msgspec import Struct

from loadtests.bench.load.generator import ask_at, check_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from uuid import UUID

    from loadtests.bench.cases.cases import OwnBench
    from loadtests.bench.load.generator import LoadResult
    from loadtests.bench.report.results import Figures

LOOK_SECONDS = 0.1

SPARE = 1.6
"""How many times more requests are prepared than the earlier cases suggest will be answered."""

GROWING_S = 0.25
"""The backlog grows if bookings wait this much longer in the last third of the time than in the first."""

_WAITS = """
    SELECT percentile_disc(ARRAY[0.5, 0.99])
        WITHIN GROUP (ORDER BY extract(epoch FROM confirmed_at - created_at) * 1000)
    FROM bookings WHERE event_id = ANY($1)
"""
"""Both clocks are the machine's: Redis sets created_at, PostgreSQL sets confirmed_at as it writes."""


class Full(Struct, frozen=True):
    """Full load for a while. `backlog` is sampled at `at_s`; `shares` are parts of a core."""

    seconds: float
    per_second: float
    post_p99_ms: float
    confirm_p50_ms: float
    confirm_p99_ms: float
    at_s: list[float]
    backlog: list[int]
    shares: dict[str, float]

    @property
    def growth_s(self) -> float:
        """How much longer bookings wait at the end than at the beginning, by the backlog."""
        third = max(1, len(self.backlog) // 3)
        return (median(self.backlog[-third:]) - median(self.backlog[:third])) / self.per_second

    @property
    def growing(self) -> bool:
        """Whether the workers fall behind."""
        return self.growth_s > GROWING_S


def measure_half(bench: OwnBench, *, per_second: float, seconds: float) -> Figures:
    """Send bookings at `per_second`, evenly spaced, and wait until all are confirmed.

    `post_…` counts from when a request was due.
    """
    count = round(per_second * seconds)
    event_ids = _events(bench, count)
    requests = bench.crowd.orders(event_ids, key=uuid4().hex)[:count]
    answered = uvloop.run(ask_at(bench.stack.api.url, requests, per_second=per_second))
    check_all(answered, expected=202, what="(h) bookings at half load")
    p50_ms, p99_ms = _waits(bench, event_ids)
    return {
        "per_second": per_second,
        "post_p50_ms": answered.p50_ms,
        "post_p99_ms": answered.p99_ms,
        "late_p99_ms": answered.late_p99_ms,
        "confirm_p50_ms": p50_ms,
        "confirm_p99_ms": p99_ms,
    }


def measure_full(bench: OwnBench, *, expected_per_second: float, seconds: float) -> Full:
    """Book as fast as bookings are accepted for some seconds, and sample the backlog."""
    event_ids = _events(bench, round(expected_per_second * seconds * SPARE))
    requests = bench.crowd.orders(event_ids, key=uuid4().hex)
    before = bench.stack.cpu_seconds()
    began_s = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(bench.fire, bench.stack.api.url, requests, seconds=seconds)
        at_s, backlog = _watch(bench, answering, began_s)
    answered = answering.result()
    took_s = time.perf_counter() - began_s
    after = bench.stack.cpu_seconds()
    check_all(answered, expected=202, what="(h) bookings at full load")
    p50_ms, p99_ms = _waits(bench, event_ids)
    return Full(
        seconds=answered.seconds,
        per_second=answered.per_second,
        post_p99_ms=answered.p99_ms,
        confirm_p50_ms=p50_ms,
        confirm_p99_ms=p99_ms,
        at_s=at_s,
        backlog=backlog,
        shares={part: (after[part] - before[part]) / took_s for part in after}
        | {"generator": answered.generator_cpu_s / took_s},
    )


def _events(bench: OwnBench, bookings: int) -> list[UUID]:
    """Events enough for each buyer to book once of each."""
    return [bench.crowd.event() for _ in range(max(1, ceil(bookings / len(bench.crowd.buyers))))]


def _watch(bench: OwnBench, answering: Future[LoadResult], began_s: float) -> tuple[list[float], list[int]]:
    at_s: list[float] = []
    backlog: list[int] = []
    with bench.stack.redis() as redis:
        while not answering.done():
            backlog.append(bench.stack.unpersisted(redis))
            at_s.append(time.perf_counter() - began_s)
            time.sleep(LOOK_SECONDS)
    return at_s, backlog


def _waits(bench: OwnBench, event_ids: Sequence[UUID]) -> tuple[float, float]:
    """The median and the 99th percentile of the times from 202 to confirmed, once all are."""
    bench.stack.wait_until_drained()
    (((p50_ms, p99_ms),),) = bench.stack.fetch(_WAITS, event_ids)
    return float(p50_ms), float(p99_ms)
