"""What a run measures, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

if TYPE_CHECKING:
    from argparse import Namespace

LETTERS = "abcdefghmz"
"""The cases. `m` is memory, measured with `--against` only; `z` is the ceiling of the generators."""

THEMES = ("events", "bookings", "records", "apis", "workers")
"""What can grow, by name."""

BOUNDS = {
    "rounds": (50, "how often each case is measured"),
    "seconds": (10, "how long each case is measured in a round"),
    "half_seconds": (60, "how long half load lasts in a round"),
    "full_seconds": (120, "how long full load lasts"),
    "backlog": (20_000, "bookings that wait before they are drained"),
    "connections": (1_000, "connections of the generator"),
}
"""The maximum of each number on the command line, and its help: no run has no end, no partition a larger backlog."""


class BenchPlan(Struct, frozen=True, kw_only=True):
    """Bounds of the standard bench. The defaults take seven minutes; fewer than five rounds say little.

    `only` has the letters of the cases, all when it is empty. There are `buyers_per_second` for each second of a case,
    more than are served in it. All `memory_bookings` have to be made within the five seconds that one may wait.
    """

    rounds: int = 5
    seconds: float = 3
    half_seconds: int = 8
    full_seconds: int = 60
    backlog: int = 20_000
    connections: int = 64
    buyers_per_second: int = 9_000
    memory_bookings: int = 4_000
    only: str = ""

    def wants(self, letter: str) -> bool:
        """Whether a case is measured. Half and full load need the rate of accepted bookings."""
        return not self.only or letter in self.only or (letter == "b" and "h" in self.only)


class GrowthPlan(Struct, frozen=True, kw_only=True):
    """Bounds of growth: the amounts on the large side, and the `themes` to measure.

    Each side persists `warm_up` bookings before the first round.
    """

    rounds: int = 5
    seconds: int = 2
    backlog: int = 8_000
    events: int = 10_000
    bookings: int = 1_000_000
    records: int = 100_000
    pages: int = 10_000
    memory_bookings: int = 10_000
    warm_up: int = 20_000
    themes: tuple[str, ...] = THEMES


QUICK = BenchPlan(
    rounds=1,
    seconds=0.2,
    half_seconds=1,
    full_seconds=1,
    backlog=500,
    connections=16,
    buyers_per_second=2_000,
    memory_bookings=500,
)
"""Shows that everything works; the figures say little."""

QUICK_GROWTH = GrowthPlan(
    rounds=1,
    seconds=1,
    backlog=2_000,
    events=300,
    bookings=10_000,
    records=2_000,
    pages=100,
    memory_bookings=2_000,
    warm_up=2_000,
)


def plan_of(options: Namespace) -> BenchPlan:
    """The plan of the standard bench by the command line.

    Raises:
        ValueError: a case does not exist, or a number is out of bounds.
    """
    only = options.only.lower().replace(",", "").replace(" ", "")
    if unknown := set(only) - set(LETTERS):
        message = f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(LETTERS)}"
        raise ValueError(message)
    given = _given(options, *BOUNDS)
    for name, value in given.items():
        most, _ = BOUNDS[name]
        if not 0 < value <= most:
            message = f"--{name.replace('_', '-')} is 1 to {most}"
            raise ValueError(message)
    return structs.replace(QUICK if options.quick else BenchPlan(), **given, only=only)


def growth_plan_of(options: Namespace) -> GrowthPlan:
    """The plan of growth by the command line.

    Raises:
        ValueError: a theme does not exist.
    """
    asked = set(options.themes.replace(",", " ").split())
    if unknown := asked - set(THEMES):
        message = f"nothing of this name grows: {', '.join(sorted(unknown))}; there are {', '.join(THEMES)}"
        raise ValueError(message)
    themes = tuple(name for name in THEMES if not asked or name in asked)
    given = _given(options, "rounds", "seconds", "backlog")
    return structs.replace(QUICK_GROWTH if options.quick else GrowthPlan(), **given, themes=themes)


def _given(options: Namespace, *names: str) -> dict[str, int]:
    return {name: value for name in names if (value := getattr(options, name)) is not None}
