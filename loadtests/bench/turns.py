"""Rounds in which sides take turns: one is measured while the other is paused, and each round swaps who begins."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from loadtests.bench.cases.drain import measure_drain
from loadtests.bench.report.results import number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from loadtests.bench.cases.cases import Case, OwnBench
    from loadtests.bench.report.results import Figures, Measurements, Results
    from loadtests.bench.stack import BenchStack

FIGURES_SAID = 3
"""Figures of a measurement that its line of progress shows."""


class BenchRun(NamedTuple):
    """What every part of a run needs: connections, the results, which grow meanwhile, a folder, and a reporter."""

    connections: int
    results: Results
    folder: Path
    say: Callable[[str], None]


class Measurement(NamedTuple):
    """Something to measure once in every round."""

    name: str
    title: str
    measure: Callable[[], Figures]


class Side:
    """A running stack and what is measured on it."""

    def __init__(self, stack: BenchStack, bench: OwnBench, measurements: Sequence[Measurement]) -> None:
        self.stack = stack
        self.bench = bench
        self.measurements = measurements

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Let the stack run for the block, and pause it again."""
        self.stack.resume()
        yield
        self.stack.pause()


def take_turns(found: Measurements, sides: Mapping[str, Side], *, rounds: int, say: Callable[[str], None]) -> None:
    """Measure everything of each side in every round; `found` grows meanwhile, and all sides are paused at the end.

    Raises:
        Unexpected: an answer was wrong; the figures are worth nothing.
    """
    for side in sides.values():
        with side.turn():
            pass
    # What exists by now stays; searching it for garbage would hold up the clock.
    gc.collect()
    gc.freeze()
    for number_of_round in range(rounds):
        for turns in zip(*(_turns_of(name, side) for name, side in sides.items()), strict=True):
            said = {}
            for name, side, measurement in turns if number_of_round % 2 == 0 else reversed(turns):
                with side.turn():
                    figures = measurement.measure()
                found.add(measurement.name, measurement.title, figures, side=name)
                said[name] = _line(figures)
            what = turns[0][2].title
            say(f"round {number_of_round + 1}/{rounds} {what}: {'; '.join(said[name] for name in sides)}")


def case_measurements(bench: OwnBench, cases: Sequence[Case]) -> list[Measurement]:
    """The measurements of cases."""
    return [Measurement(case.name, case.title, partial(bench.measure, case)) for case in cases]


def drain_measurement(bench: OwnBench, *, backlog: int, bare: bool) -> Measurement:
    """The measurement of draining."""
    return Measurement("drain", "(g) drained", partial(measure_drain, bench, backlog=backlog, bare=bare))


def _turns_of(name: str, side: Side) -> list[tuple[str, Side, Measurement]]:
    return [(name, side, measurement) for measurement in side.measurements]


def _line(figures: Figures) -> str:
    return ", ".join(f"{name} {number(figure)}" for name, figure in islice(figures.items(), FIGURES_SAID))
