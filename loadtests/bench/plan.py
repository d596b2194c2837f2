"""What a run is to measure, and for how long."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

if TYPE_CHECKING:
    from argparse import Namespace

LETTERS = "abcdefghmz"
"""The cases; `m` is memory, measured with `--against` only, `z` the generators' own ceiling."""


class BenchPlan(Struct, frozen=True, kw_only=True):
    """Bounds of everything; the defaults take seven minutes, and five rounds are the fewest with a meaning.

    `only` are the letters of the cases, all when it is empty; `backlog` is what waits before it is drained.
    There are `buyers_per_second` for each second of a case, more than are served in it.
    """

    rounds: int = 5
    seconds: int = 3
    half_seconds: int = 8
    full_seconds: int = 60
    backlog: int = 20_000
    connections: int = 64
    buyers_per_second: int = 9_000
    only: str = ""

    def wants(self, letter: str) -> bool:
        """Whether a case is to be measured. Half and full load are told by what was accepted before."""
        return not self.only or letter in self.only or (letter == "b" and "h" in self.only)


THEMES = ("events", "bookings", "records", "apis", "workers")
"""What can grow, by name."""


class GrowthPlan(Struct, frozen=True, kw_only=True):
    """Bounds of growth: how much of everything there is on the large side. `themes` are those to measure.

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

QUICK = BenchPlan(rounds=1, seconds=1, half_seconds=3, full_seconds=6, backlog=2_000, buyers_per_second=2_000)
"""To see that everything works; its figures say little."""


def plan_of(options: Namespace) -> BenchPlan:
    """The plan that the command line asks for.

    Raises:
        ValueError: it asks for what cannot be.
    """
    plan = QUICK if options.quick else BenchPlan()
    given = {
        name: value
        for name in ("rounds", "seconds", "half_seconds", "full_seconds", "backlog", "connections")
        if (value := getattr(options, name)) is not None
    }
    only = "".join(character for character in options.only.lower() if character not in ", ")
    if unknown := set(only) - set(LETTERS):
        message = f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(LETTERS)}"
        raise ValueError(message)
    for name, value in given.items():
        if not 0 < value <= MOST[name]:
            message = f"--{name.replace('_', '-')} is 1 to {MOST[name]}"
            raise ValueError(message)
    return structs.replace(plan, **given, only=only)


def growth_plan_of(options: Namespace) -> GrowthPlan:
    """The plan of growth that the command line asks for.

    Raises:
        ValueError: it asks for what cannot be.
    """
    asked = set(options.themes.replace(",", " ").split())
    if unknown := asked - set(THEMES):
        message = f"nothing of this name grows: {', '.join(sorted(unknown))}; there are {', '.join(THEMES)}"
        raise ValueError(message)
    themes = tuple(name for name in THEMES if not asked or name in asked)
    given = {name: value for name in ("rounds", "seconds", "backlog") if (value := getattr(options, name)) is not None}
    return structs.replace(QUICK_GROWTH if options.quick else GrowthPlan(), **given, themes=themes)


MOST = {
    "rounds": 50,
    "seconds": 10,
    "half_seconds": 60,
    "full_seconds": 120,
    "backlog": 20_000,
    "connections": 1_000,
}
"""The most of each: no run asks without end, and no partition holds more than 20,000 waiting bookings."""
