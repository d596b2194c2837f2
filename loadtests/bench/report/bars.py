"""The bars: what the engine has to reach, and whether this run did."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.confirming import GROWING_S
from loadtests.bench.report.results import OTHER, number, ratio_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from loadtests.bench.report.results import Measurements, Results


class Bar(Struct, frozen=True):
    """One bar. `figure` is None when it was not measured."""

    title: str
    need: float
    figure: float | None
    unit: str = ""
    at_most: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the figure reaches the bar; None when there is no figure."""
        if self.figure is None:
            return None
        return self.figure <= self.need if self.at_most else self.figure >= self.need

    @property
    def cells(self) -> list[str]:
        """The bar as a row: title, need, figure, verdict."""
        verdict = {True: "met", False: "not met", None: "not measured"}[self.met]
        found = "-" if self.figure is None else f"{number(self.figure)}{self.unit}"
        return [
            self.title,
            f"{'at most' if self.at_most else 'at least'} {number(self.need)}{self.unit}",
            found,
            verdict,
        ]


KEPT = 0.85
"""The share of its rate that a case keeps when something grows."""

RATIOS = (
    ("accepted bookings to a bare POST", "book", "bare_post", 0.70),
    ("accepted bookings to the baseline's", "book", "baseline", 25),
    ("refusals of a sold-out event to accepted bookings", "sold_out", "book", 1.3),
    ("polls of pending bookings to accepted bookings", "poll_pending", "book", 1.0),
    ("holds of two lines with a code to accepted bookings", "hold_by_type", "book", 0.8),
    ("what is left of an event to the event", "availability", "event", 0.9),
    ("polls answered 304 to a bare GET", "poll_unchanged", "bare_get", 0.8),
)
"""One case's rate by another's in the same round, and the ratio to reach."""


def bars_of(results: Results) -> list[Bar]:
    """Every bar, in the order of the report; a comparison of two builds has none."""
    bars: list[Bar] = []
    if results.cases.series and OTHER not in results.cases.labels:
        bars += [*_ratios(results.cases), *_waits(results)]
    for theme in results.growth:
        bars += _grown(theme)
    bars += [
        Bar(f"{walk.title}, pace of page {walk.pages:,} to that of the first", KEPT, walk.first_to_last)
        for walk in results.walks
    ]
    if rush := results.rush:
        bars.append(Bar("requests of the rush that failed", 0, rush.figures.failed, at_most=True))
        bars.append(Bar("promises the books break after the rush", 0, len(rush.violated), at_most=True))
    return bars


def _ratios(cases: Measurements) -> Iterator[Bar]:
    for title, one, other, need in RATIOS:
        rates, reference = cases.values(one, "per_second"), cases.values(other, "per_second")
        yield Bar(title, need, ratio_of(rates, reference).median if rates and reference else None)
    persisted, bare = (cases.values("drain", figure) for figure in ("per_second", "bare_per_second"))
    yield Bar("persisted to bare inserts", 0.4, ratio_of(persisted, bare).median if persisted else None)
    accepted = cases.values("book", "per_second")
    both = median(persisted) / median(accepted) if persisted and accepted else None
    yield Bar("persisted to accepted by one API process", 2, both)


def _waits(results: Results) -> Iterator[Bar]:
    confirm, post = (results.cases.values("half", figure) for figure in ("confirm_p99_ms", "post_p99_ms"))
    confirmed, growth = (results.cases.values("full", figure) for figure in ("confirm_p99_ms", "growth_s"))
    longer = "how much longer bookings wait at the end of full load than at its beginning"
    for title, need, figures, unit in (
        ("202 to confirmed, p99 at half load", 150, confirm, " ms"),
        ("202 to confirmed, p99 at full load", 400, confirmed, " ms"),
        (longer, GROWING_S, growth, " s"),
        ("POST p99 at half load", 20, post, " ms"),
    ):
        yield Bar(title, need, median(figures) if figures else None, unit, at_most=True)


def _grown(theme: Measurements) -> Iterator[Bar]:
    for name, series in theme.series.items():
        large, small = series.values("per_second"), series.values("per_second", OTHER)
        if large and small:
            sides = " to ".join(theme.labels.values())
            yield Bar(f"{theme.title}, {sides}: {name}", KEPT, ratio_of(large, small).median)
    if pending := theme.values("memory", "pending_bytes"):
        yield Bar("Redis for a pending booking", 1024, median(pending), " bytes", at_most=True)
