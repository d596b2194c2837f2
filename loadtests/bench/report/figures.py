"""Figures of several rounds: their spread, ratios within each round, and how they are written."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence


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

    Raises:
        ValueError: the sides have not the same number of values.
    """
    return spread_of([value / other for value, other in zip(values, to, strict=True)])


def ratio_so_far(values: Sequence[float], to: Sequence[float]) -> Spread:
    """As `ratio_of`, over the rounds that both have: in a run that failed, one has a round more."""
    rounds = min(len(values), len(to))
    return ratio_of(values[:rounds], to[:rounds])


def number(value: float) -> str:
    """A figure with about three digits and a comma between thousands."""
    if abs(value) >= 100:  # noqa: PLR2004  (three digits)
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004
