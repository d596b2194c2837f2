"""From 202 to confirmed: how long that takes at half and at full load, and whether the backlog grows."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from statistics import median
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop

from loadtests.bench.load.generator import ask_at, check_all

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from uuid import UUID

    from loadtests.bench.cases.cases import OwnBench
    from loadtests.bench.load.generator import LoadResult
    from loadtests.bench.report.results import Figures

Samples = list[tuple[float, int]]
"""The backlog at some seconds of a run."""

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


def measure_full(bench: OwnBench, *, expected_per_second: float, seconds: float) -> tuple[Figures, Samples]:
    """Book as fast as bookings are accepted for some seconds, and sample the backlog."""
    event_ids = _events(bench, round(expected_per_second * seconds * SPARE))
    requests = bench.crowd.orders(event_ids, key=uuid4().hex)
    before = bench.stack.cpu_seconds()
    began_s = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(bench.fire, bench.stack.api.url, requests, seconds=seconds)
        samples = _watch(bench, answering, began_s)
    answered = answering.result()
    took_s = time.perf_counter() - began_s
    used_s = {part: after - before[part] for part, after in bench.stack.cpu_seconds().items()}
    used_s["generator"] = answered.generator_cpu_s
    check_all(answered, expected=202, what="(h) bookings at full load")
    p50_ms, p99_ms = _waits(bench, event_ids)
    backlog = [left for _, left in samples]
    figures = {
        "per_second": answered.per_second,
        "seconds": answered.seconds,
        "post_p99_ms": answered.p99_ms,
        "confirm_p50_ms": p50_ms,
        "confirm_p99_ms": p99_ms,
        "backlog_max": float(max(backlog)),
        "growth_s": growth_s(backlog, per_second=answered.per_second),
    }
    return figures | {f"core_percent.{part}": used * 100 / took_s for part, used in used_s.items()}, samples


def growth_s(backlog: Sequence[int], *, per_second: float) -> float:
    """How much longer bookings wait at the end than at the beginning, by the backlog."""
    third = max(1, len(backlog) // 3)
    return (median(backlog[-third:]) - median(backlog[:third])) / per_second


def _events(bench: OwnBench, bookings: int) -> list[UUID]:
    """Events enough for each buyer to book once of each."""
    return [bench.crowd.event() for _ in range(max(1, ceil(bookings / len(bench.crowd.buyers))))]


def _watch(bench: OwnBench, answering: Future[LoadResult], began_s: float) -> Samples:
    samples: Samples = []
    with bench.stack.redis() as redis:
        while not answering.done():
            left = bench.stack.unpersisted(redis)
            samples.append((time.perf_counter() - began_s, left))
            time.sleep(LOOK_SECONDS)
    return samples


def _waits(bench: OwnBench, event_ids: Sequence[UUID]) -> tuple[float, float]:
    """The median and the 99th percentile of the times from 202 to confirmed, once all are."""
    bench.stack.wait_until_drained()
    (((p50_ms, p99_ms),),) = bench.stack.fetch(_WAITS, event_ids)
    return float(p50_ms), float(p99_ms)
