"""From 202 to confirmed: how long buyers wait for it, at half and at full load, and whether the backlog grows."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from math import ceil
from statistics import median
from typing import TYPE_CHECKING
from uuid import uuid4

import uvloop
from msgspec import Struct

from loadtests.bench.load.generator import check_all
from loadtests.bench.load.open_loop import ask_at
from loadtests.bench.load.prepared import read_requests

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future
    from uuid import UUID

    from loadtests.bench.cases.cases import OwnBench
    from loadtests.bench.load.generator import LoadResult

LOOK_SECONDS = 0.1

SPARE = 1.6
"""How many more requests are made ready than the cases before say will be answered."""

GROWING_S = 0.25
"""A backlog grows if bookings wait so much longer in the last third of the time than in the first."""

_WAITS = """
    SELECT percentile_disc(ARRAY[0.5, 0.99])
        WITHIN GROUP (ORDER BY extract(epoch FROM confirmed_at - created_at) * 1000)
    FROM bookings WHERE event_id = ANY($1)
"""
"""By the servers' clocks, which are one on one machine: created by Redis', confirmed by PostgreSQL's as it writes."""


class Half(Struct, frozen=True):
    """Half of what can be accepted, asked for at even distances; `post_…` is from when a request was due."""

    per_second: float
    post_p50_ms: float
    post_p99_ms: float
    late_p99_ms: float
    confirm_p50_ms: float
    confirm_p99_ms: float


class Full(Struct, frozen=True):
    """As much as is accepted, for a while. `backlog` is sampled at `at_s`; `shares` are parts of a core."""

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


def measure_half(bench: OwnBench, *, per_second: float, seconds: float) -> Half:
    """Ask for places at `per_second` and wait until all are confirmed."""
    count = round(per_second * seconds)
    event_ids = _events(bench, count)
    prepared = bench.crowd.orders(event_ids, key=uuid4().hex)
    feed = iter(read_requests(prepared))
    requests = [next(feed) for _ in range(count)]
    paced = uvloop.run(ask_at(bench.stack.api.url, requests, per_second=per_second))
    prepared.path.unlink()
    check_all(paced.answered, expected=202, what="(h) bookings at half load")
    p50_ms, p99_ms = _waits(bench, event_ids)
    return Half(
        per_second=per_second,
        post_p50_ms=paced.answered.p50_ms,
        post_p99_ms=paced.answered.p99_ms,
        late_p99_ms=paced.late_p99_ms,
        confirm_p50_ms=p50_ms,
        confirm_p99_ms=p99_ms,
    )


def measure_full(bench: OwnBench, *, expected_per_second: float, seconds: float) -> Full:
    """Ask for places as fast as they are given for some seconds, and watch the backlog."""
    event_ids = _events(bench, round(expected_per_second * seconds * SPARE))
    prepared = bench.crowd.orders(event_ids, key=uuid4().hex)
    before = bench.stack.cpu_seconds()
    began_s = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        answering = pool.submit(bench.generator.fire, bench.stack.api.url, prepared, seconds=seconds)
        at_s, backlog = _watch(bench, answering, began_s)
    answered = answering.result()
    took_s = time.perf_counter() - began_s
    after = bench.stack.cpu_seconds()
    prepared.path.unlink()
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
        | {"generator": (answered.generator_cpu_s or 0.0) / took_s},
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
