"""The figures of a bench by measurement, side and round, as they are kept; their spread, and ratios within rounds."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.pages import Walk
from loadtests.bench.cases.rush import Rush

if TYPE_CHECKING:
    from collections.abc import Sequence

Figures = dict[str, float]
"""What one measurement found once. A part of a figure follows a dot: per_second, p99_ms, cpu_ms.valkey."""

THIS, OTHER = "this", "other"
"""The sides of a run: the stack of interest, and the one that it is compared with, if any."""


class Series(Struct):
    """One measurement, repeated: the figures of each side, round by round."""

    title: str
    sides: dict[str, list[Figures]]

    def values(self, figure: str, side: str = THIS) -> list[float]:
        """One figure in every round; empty when it was not measured."""
        return [each[figure] for each in self.sides.get(side, []) if figure in each]


class Measurements(Struct, kw_only=True):
    """The measurements of one side, or of two that took turns and have `labels`."""

    title: str = ""
    labels: dict[str, str] = {}
    series: dict[str, Series] = {}

    def add(self, name: str, title: str, figures: Figures, *, side: str = THIS) -> None:
        """Note what a measurement found in this round."""
        series = self.series.setdefault(name, Series(title, {}))
        series.sides.setdefault(side, []).append(figures)

    def values(self, name: str, figure: str, side: str = THIS) -> list[float]:
        """One figure of a measurement in every round; empty when it was not measured."""
        return self.series[name].values(figure, side) if name in self.series else []


class Results(Struct, kw_only=True):
    """A run; what was not measured is empty or None. `backlog` has samples of full load, each with its second."""

    started_at: str
    machine: dict[str, object]
    options: dict[str, object]
    cases: Measurements
    backlog: list[tuple[float, int]] = []
    growth: list[Measurements] = []
    walks: list[Walk] = []
    rush: Rush | None = None


class Spread(Struct, frozen=True):
    """The median of some rounds, the lowest and the highest."""

    median: float
    low: float
    high: float

    @property
    def cells(self) -> list[str]:
        """The three figures, to read."""
        return [number(self.median), number(self.low), number(self.high)]


def spread_of(values: Sequence[float]) -> Spread:
    """The spread of at least one value."""
    return Spread(median(values), min(values), max(values))


def ratio_of(values: Sequence[float], to: Sequence[float]) -> Spread:
    """The spread of the ratios within each round: what a busy moment does to both sides cancels out.

    In a run that failed, one side may have a round more, which is left out.
    """
    return spread_of([value / other for value, other in zip(values, to, strict=False)])


def number(value: float) -> str:
    """A figure with about three digits and a comma between thousands."""
    if abs(value) >= 100:  # noqa: PLR2004  (three digits)
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004
