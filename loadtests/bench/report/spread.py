"""What several rounds say together: the median, and how far they lie apart."""

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
    rounds: int


def spread_of(values: Sequence[float]) -> Spread:
    """The spread of some values, which are not none."""
    return Spread(median(values), min(values), max(values), len(values))


def ratio_of(values: Sequence[float], to: Sequence[float]) -> Spread:
    """The spread of the ratios within each round: what a busy moment does to both sides cancels out.

    Raises:
        ValueError: there are not as many values of one as of the other.
    """
    return spread_of([value / other for value, other in zip(values, to, strict=True)])
