"""The bars: what the engine is to reach, and whether this run did."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.confirming import GROWING_S
from loadtests.bench.report.figure import number
from loadtests.bench.report.spread import ratio_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.bench.cases.growth import Growth
    from loadtests.bench.cases.rush import Rush
    from loadtests.bench.report.results import Results


class Bar(Struct, frozen=True):
    """One bar. `figure` is None when it was not measured."""

    title: str
    need: float
    figure: float | None
    unit: str = ""
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the figure reaches it; None when there is none."""
        if self.figure is None:
            return None
        return self.figure <= self.need if self.at_most else self.figure >= self.need

    @property
    def verdict(self) -> str:
        """In words."""
        return {True: "met", False: "not met", None: "not measured"}[self.met]

    @property
    def needed(self) -> str:
        """What it asks for, to read."""
        return f"{'at most' if self.at_most else 'at least'} {number(self.need)}{self.unit}"

    @property
    def found(self) -> str:
        """What was found, to read."""
        return "-" if self.figure is None else f"{number(self.figure)}{self.unit}"


KEPT = 0.85
"""What a case keeps of its rate when something grows."""

RATIOS = (
    ("accepted bookings to a bare POST", "book", "bare_post", 0.70),
    ("accepted bookings to the baseline's", "book", "baseline", 25),
    ("refusals of a sold-out event to accepted bookings", "sold_out", "book", 1.3),
    ("polls of pending bookings to accepted bookings", "poll_pending", "book", 1.0),
    ("polls answered 304 to a bare GET", "poll_unchanged", "bare_get", 0.8),
)
"""One case's rate by another's, in the same round, and what that is to be."""


def bars_of(results: Results) -> list[Bar]:
    """Every bar, in the order of the report."""
    bars: list[Bar] = []
    if results.measures or results.drains or results.full:
        bars += [*_ratios(results), *_drains(results), *_waits(results)]
    if results.growth:
        bars += _grown(results.growth)
    if results.rush:
        bars += _rushed(results.rush)
    return bars


def _ratios(results: Results) -> Iterator[Bar]:
    for title, one, other, need in RATIOS:
        mine, theirs = results.rates(one), results.rates(other)
        yield Bar(title, need, ratio_of(mine, theirs).median if mine and theirs else None)


def _drains(results: Results) -> Iterator[Bar]:
    persisted = [each.persisted_per_second for each in results.drains]
    bare = [each.bare_per_second for each in results.drains]
    accepted = results.rates("book")
    yield Bar("persisted to bare inserts", 0.4, ratio_of(persisted, bare).median if persisted else None)
    both = median(persisted) / median(accepted) if persisted and accepted else None
    yield Bar("persisted to accepted by one API process", 2, both)


def _waits(results: Results) -> Iterator[Bar]:
    halves, full = results.halves, results.full
    confirm = median([half.confirm_p99_ms for half in halves]) if halves else None
    post = median([half.post_p99_ms for half in halves]) if halves else None
    yield Bar("202 to confirmed, p99 at half load", 150, confirm, unit=" ms", at_most=True)
    yield Bar("202 to confirmed, p99 at full load", 400, full.confirm_p99_ms if full else None, " ms", at_most=True)
    yield Bar(
        "how much longer bookings wait at the end of full load than at its beginning",
        GROWING_S,
        full.growth_s if full else None,
        unit=" s",
        at_most=True,
    )
    yield Bar("POST p99 at half load", 20, post, unit=" ms", at_most=True)


def _grown(growth: Growth) -> Iterator[Bar]:
    for each in growth.grown:
        kept = ratio_of(each.large, each.small).median
        yield Bar(f"{each.title}, {each.large_label} to {each.small_label}: {each.case}", KEPT, kept)
    for walk in growth.walks:
        yield Bar(f"{walk.title}, pace of page {walk.pages:,} to that of the first", KEPT, walk.first_to_last)
    if growth.memory:
        yield Bar("Redis for a pending booking", 1024, growth.memory.pending_bytes, unit=" bytes", at_most=True)


def _rushed(rush: Rush) -> Iterator[Bar]:
    yield Bar("requests of the rush that failed", 0, sum(rush.failed.values()), at_most=True)
    yield Bar("promises the books break after the rush", 0, len(rush.violated), at_most=True)
