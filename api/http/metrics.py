"""Metrics of a process for Prometheus. No label contains a person, an event or the path of a request.

Each process has its own metrics: scrape every process, not their shared address.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from domain.kernel.refusals import Unavailable
from domain.store.clocks import HOST, POSTGRESQL, REDIS
from domain.store.redis.rebuild_progress import read_progress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping

    from prometheus_client.core import Metric

    from domain.engine import Stores
    from domain.platform.clocks import ClockComparison
    from domain.store.redis.rebuild_progress import Progress
    from domain.store.redis.unpersisted_sets import Pulse

Value = TypeVar("Value")

MEDIA_TYPE = CONTENT_TYPE_LATEST

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From the time of a read in Redis to the longest wait that a caller can request."""

METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "OPTIONS"})

CLOCK_LABELS = {REDIS: "redis", POSTGRESQL: "postgresql", HOST: "host"}

NO_ROUTE = "none"
"""The label for an unknown route or method."""


class _Counted:
    """The answers of one method and route: how many of each status, how many in each bucket, and their total time."""

    __slots__ = ("buckets", "statuses", "sum_s")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0


class Requests(Collector):
    """Counts answers by route. Counting takes a microsecond; the metrics are computed when they are scraped."""

    def __init__(self) -> None:
        self._counted: defaultdict[tuple[str, str], _Counted] = defaultdict(_Counted)

    def count(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer and the time until it began."""
        counted = self._counted[method if method in METHODS else NO_ROUTE, route]
        counted.statuses[status] = counted.statuses.get(status, 0) + 1
        counted.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        counted.sum_s += seconds

    def collect(self) -> Iterable[Metric]:
        """The counted answers."""
        requests = CounterMetricFamily("onsale_requests", "Requests answered.", labels=("method", "route", "status"))
        seconds = HistogramMetricFamily(
            "onsale_request_seconds", "Time to the start of the answer.", labels=("method", "route")
        )
        bounds = [*map(str, BUCKETS_S), "+Inf"]
        for labels, counted in self._counted.items():
            for status, number in counted.statuses.items():
                requests.add_metric((*labels, str(status)), number)
            seconds.add_metric(labels, list(zip(bounds, accumulate(counted.buckets), strict=True)), counted.sum_s)
        return [requests, seconds]


class InventoryCollector(Collector):
    """The state of the inventory. `pulses` are None while it does not sell."""

    def __init__(self, pulses: list[Pulse] | None) -> None:
        self._pulses = pulses

    def collect(self) -> Iterable[Metric]:
        """Whether the inventory sells, and how many changes wait to be persisted."""
        up = GaugeMetricFamily("onsale_inventory_up", "1 while the inventory sells, 0 while it is rebuilt.")
        up.add_metric((), self._pulses is not None)
        waiting = GaugeMetricFamily(
            "onsale_unpersisted_bookings", "Changes of bookings not yet in PostgreSQL.", labels=("partition",)
        )
        lag_ms = GaugeMetricFamily(
            "onsale_persist_lag_ms", "How long the oldest of them has waited.", labels=("partition",)
        )
        for partition, pulse in enumerate(self._pulses or []):
            waiting.add_metric((str(partition),), pulse.unpersisted_count)
            lag_ms.add_metric((str(partition),), max(0, pulse.oldest_age_ms))
        return [up, waiting, lag_ms]


class Rebuild(Collector):
    """The progress of the latest rebuild; None if there was none lately."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        """The number of events whose counters are written, and of all events."""
        events = GaugeMetricFamily(
            "onsale_rebuild_events", "Events of the rebuild of the last minute: done, and all.", labels=("which",)
        )
        if self._progress:
            events.add_metric(("done",), self._progress.done)
            events.add_metric(("all",), self._progress.of)
        return [events]


class Repairs(Collector):
    """The differences that reconciliation found; None if PostgreSQL cannot be reached."""

    def __init__(self, found: dict[tuple[str, bool], int] | None) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """The differences by kind, and whether they were repaired."""
        # A gauge, because repairs that are past their retention are not counted any more.
        drift = GaugeMetricFamily(
            "onsale_drift",
            "Differences between Redis and PostgreSQL that were found in the last REPAIRS_DAYS.",
            labels=("fault", "repaired"),
        )
        for (fault, done), number in (self._found or {}).items():
            drift.add_metric((fault, "yes" if done else "no"), number)
        return [drift]


class ClocksCollector(Collector):
    """How far the servers' clocks are ahead of this host's clock, and how often each clock was set."""

    def __init__(self, compared: ClockComparison, steps: Mapping[tuple[str, str], int]) -> None:
        self._compared = compared
        self._steps = dict(steps)

    def collect(self) -> Iterable[Metric]:
        """The least difference in seconds, since the round trip takes time; steps that this process noticed."""
        apart = GaugeMetricFamily(
            "onsale_clock_ahead_seconds", "How far a server's clock is ahead of this host's.", labels=("server",)
        )
        for server, by_ms in (("redis", self._compared.redis_ms), ("postgresql", self._compared.postgresql_ms)):
            if by_ms is not None:
                apart.add_metric((server,), by_ms / 1000)
        steps = CounterMetricFamily("onsale_clock_steps", "Clocks that were set.", labels=("clock", "direction"))
        for (clock, direction), number in self._steps.items():
            steps.add_metric((CLOCK_LABELS[clock], direction), number)
        return [apart, steps]


class Unavailabilities(Collector):
    """Counts answers of 503 by reason. Reasons are details of refusals, causes are names of exceptions."""

    def __init__(self) -> None:
        self._reasons: Counter[tuple[str, str]] = Counter()

    def count(self, *, reason: str, cause: str) -> None:
        """Count one answer."""
        self._reasons[reason, cause] += 1

    def collect(self) -> Iterable[Metric]:
        """The counted answers."""
        counted = CounterMetricFamily(
            "onsale_unavailable", "Requests answered with 503, by reason.", labels=("reason", "cause")
        )
        for (reason, cause), number in self._reasons.items():
            counted.add_metric((reason, cause), number)
        return [counted]


class ThisProcess(Collector):
    """The id of this process."""

    def collect(self) -> Iterable[Metric]:
        """The id, which distinguishes processes behind one address."""
        info = GaugeMetricFamily("onsale_api_process", "1, for the process that was asked.", labels=("pid",))
        info.add_metric((str(os.getpid()),), 1)
        return [info]


requests = Requests()
"""The answers of this process."""

unavailabilities = Unavailabilities()
"""The answers of 503 of this process, by reason."""


async def exposition(stores: Stores) -> bytes:
    """The metrics of this process and of the inventory, in the text format of Prometheus."""
    pulses = await _if_available(stores.unpersisted.pulses())
    progress = await _if_available(read_progress(stores.pipeline))
    found = await _if_available(stores.books.repairs_by_fault())
    compared = await stores.clocks.compare_once()
    registry = CollectorRegistry()
    clocks = ClocksCollector(compared, stores.clocks.steps)
    own = (requests, unavailabilities, ThisProcess())
    for collector in (*own, InventoryCollector(pulses), Rebuild(progress), Repairs(found), clocks):
        registry.register(collector)
    return generate_latest(registry)


async def _if_available(reading: Awaitable[Value]) -> Value | None:
    """The result of a read, None if its server cannot be reached."""
    try:
        return await reading
    except Unavailable:
        return None
