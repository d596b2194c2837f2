"""What a process counts of itself, for Prometheus. No label names a person, an event or a path that was made up.

Each process has numbers of its own: scrape every process, not the address that they share.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections import Counter, defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from domain.kernel.refusals import Unavailable
from domain.store.clocks import HOST, POSTGRESQL, REDIS
from domain.store.redis.rebuild_progress import told

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.core import Metric

    from domain.engine import Stores
    from domain.platform.clocks import ClockComparison
    from domain.store.redis.rebuild_progress import Progress
    from domain.store.redis.unpersisted_sets import Pulse

MEDIA_TYPE = CONTENT_TYPE_LATEST

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a read in Redis to the longest wait that a caller may ask for."""

METHODS = frozenset({"GET", "POST", "PATCH", "DELETE", "OPTIONS"})

CLOCK_LABELS = {REDIS: "redis", POSTGRESQL: "postgresql", HOST: "host"}

NO_ROUTE = "none"
"""The route of a request that no handler has, and the method of one that no route has."""


class _Counted:
    """The answers of one method and route: how many of each status, how many in each bucket, and their total time."""

    __slots__ = ("buckets", "statuses", "sum_s")

    def __init__(self) -> None:
        self.statuses: dict[int, int] = {}
        self.buckets = [0] * (len(BUCKETS_S) + 1)
        self.sum_s = 0.0


class Requests(Collector):
    """Counts answers by route, in plain numbers: one answer costs a microsecond, sums are made when asked for."""

    def __init__(self) -> None:
        self._counted: defaultdict[tuple[str, str], _Counted] = defaultdict(_Counted)

    def count(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer and the time until it began."""
        counted = self._counted[method if method in METHODS else NO_ROUTE, route]
        counted.statuses[status] = counted.statuses.get(status, 0) + 1
        counted.buckets[bisect_left(BUCKETS_S, seconds)] += 1
        counted.sum_s += seconds

    def collect(self) -> Iterable[Metric]:
        """What was counted."""
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
    """What the inventory says of itself at one moment; no pulses: it does not sell."""

    def __init__(self, pulses: list[Pulse] | None) -> None:
        self._pulses = pulses

    def collect(self) -> Iterable[Metric]:
        """Whether it sells, and what waits to be persisted."""
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
    """How far the latest rebuild has come; None when there was none lately."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def collect(self) -> Iterable[Metric]:
        """Events whose counters are written, and how many there are."""
        events = GaugeMetricFamily(
            "onsale_rebuild_events", "Events of the rebuild of the last minute: done, and all.", labels=("which",)
        )
        if self._progress:
            events.add_metric(("done",), self._progress.done)
            events.add_metric(("all",), self._progress.of)
        return [events]


class Repairs(Collector):
    """What reconciliation found; None when PostgreSQL could not be asked."""

    def __init__(self, found: dict[tuple[str, bool], int] | None) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        """Faults by kind, and whether they were mended."""
        # No counter: what is past its retention is not counted any more.
        drift = GaugeMetricFamily(
            "onsale_drift",
            "Differences between Redis and PostgreSQL that were found in the last REPAIRS_DAYS.",
            labels=("fault", "repaired"),
        )
        for (fault, done), number in (self._found or {}).items():
            drift.add_metric((fault, "yes" if done else "no"), number)
        return [drift]


class ClocksCollector(Collector):
    """How far the servers' clocks are ahead of this host's, and how often each was set."""

    def __init__(self, compared: ClockComparison, steps: Mapping[tuple[str, str], int]) -> None:
        self._compared = compared
        self._steps = dict(steps)

    def collect(self) -> Iterable[Metric]:
        """Seconds at least, since the way there takes time; steps between two looks of this process."""
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
    """Counts answers of 503 by their reason. Reasons are sentences of ours, causes are names of exceptions."""

    def __init__(self) -> None:
        self._reasons: Counter[tuple[str, str]] = Counter()

    def count(self, *, reason: str, cause: str) -> None:
        """Count one answer."""
        self._reasons[reason, cause] += 1

    def collect(self) -> Iterable[Metric]:
        """What was counted."""
        counted = CounterMetricFamily(
            "onsale_unavailable", "Requests answered with 503, by reason.", labels=("reason", "cause")
        )
        for (reason, cause), number in self._reasons.items():
            counted.add_metric((reason, cause), number)
        return [counted]


class ThisProcess(Collector):
    """Which process this is."""

    def collect(self) -> Iterable[Metric]:
        """Its id, so that two processes behind one address can be told apart."""
        info = GaugeMetricFamily("onsale_api_process", "1, for the process that was asked.", labels=("pid",))
        info.add_metric((str(os.getpid()),), 1)
        return [info]


requests = Requests()
"""This process' count."""

unavailabilities = Unavailabilities()
"""This process' count of 503, by reason."""


async def exposition(stores: Stores) -> bytes:
    """This process' numbers and the inventory's, in Prometheus' text format."""
    try:
        pulses = await stores.unpersisted.pulses()
    except Unavailable:
        pulses = None
    try:
        progress = await told(stores.pipeline)
    except Unavailable:
        progress = None
    try:
        found = await stores.books.repairs_by_fault()
    except Unavailable:
        found = None
    compared = await stores.clocks.compare_once()
    registry = CollectorRegistry()
    clocks = ClocksCollector(compared, stores.clocks.steps)
    own = (requests, unavailabilities, ThisProcess())
    for collector in (*own, InventoryCollector(pulses), Rebuild(progress), Repairs(found), clocks):
        registry.register(collector)
    return generate_latest(registry)
