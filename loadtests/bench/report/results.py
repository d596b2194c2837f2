"""Everything a bench found, as it is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.cases import Measured
from loadtests.bench.cases.confirming import Full, Half
from loadtests.bench.cases.drain import Drained
from loadtests.bench.cases.growth import Growth
from loadtests.bench.cases.rush import Rush

if TYPE_CHECKING:
    from collections.abc import Sequence


class Measure(Struct, frozen=True):
    """A case, and what each round measured."""

    name: str
    letter: str
    title: str
    rounds: list[Measured]

    @property
    def rates(self) -> list[float]:
        """Answers a second, round by round."""
        return [each.per_second for each in self.rounds]


class Results(Struct, kw_only=True):
    """A run; what was not measured is empty or None."""

    started_at: str
    machine: dict[str, object]
    options: dict[str, object]
    generator: str
    measures: list[Measure] = []
    drains: list[Drained] = []
    halves: list[Half] = []
    full: Full | None = None
    growth: Growth | None = None
    rush: Rush | None = None

    def rates(self, name: str) -> Sequence[float]:
        """The rates of a case, none if it was not measured."""
        return next((measure.rates for measure in self.measures if measure.name == name), [])
