"""The report of a run of trials: a table for docs/reliability.md, and the same as JSON."""

from __future__ import annotations

from collections import Counter
from statistics import median_high
from typing import TYPE_CHECKING

from domain.platform.failpoints import Failpoint
from ops.chaos.recovery import DURABILITY as RECOVERED_WITH

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ops.chaos.recovery import Recovered
    from ops.chaos.trial import Result

SEEDS_MIN = 20
FAULTS_MIN = 1_000
HITS_MIN = 500
ACCEPTED_MIN = 10_000
"""The least that makes a run a full one: faults and self-kills in total, seeds and bookings for each durability."""

DURABILITIES = ("redis", "postgres")

LOSSES = (
    *("no_confirmed_booking_is_lost", "no_accepted_booking_is_lost", "no_cancellation_is_lost"),
    "no_confirmation_is_lost",
)
OVERSALES = ("nothing_is_oversold_in_postgresql", "nothing_is_oversold_in_redis", "no_counter_is_oversold")
DUPLICATES = ("one_booking_per_key", "every_row_was_asked_for")


def line(result: Result) -> str:
    """One trial in one line."""
    final = "never" if result.to_final_s is None else f"{result.to_final_s:.1f} s"
    verdict = "FAIL " + ", ".join(result.broken) if result.broken else "ok"
    return (
        f"seed {result.seed:<4} {result.durability:<8} {_faults([result]):4} faults "
        f"{_hits([result]).total():4} self-kills {result.accepted:6} accepted  final after {final:<6} {verdict}"
    )


def table(results: Sequence[Result], recovered: Sequence[Recovered] = ()) -> str:
    """All trials, and what was measured apart from them, a column for each durability, in Markdown."""
    columns = sorted({result.durability for result in results}, reverse=True)
    rows = [["", *(f"`DURABILITY={column}`" for column in columns)], ["---", *("---:" for _ in columns)]]
    for name, of in FIGURES.items():
        rows.append([name, *(_shown(of(_of(results, column))) for column in columns)])
    for each in recovered:
        measured = [f"{each.seconds:.2f}" if column == RECOVERED_WITH else "not measured" for column in columns]
        rows.append([f"seconds: {each.what}, at most {each.most:.0f}", *measured])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def breakdown(results: Sequence[Result]) -> str:
    """How often each fault and each failpoint hit."""
    faults: Counter[str] = Counter()
    for result in results:
        faults.update(result.faults)
    counts = {"faults": sorted(faults.items()), "failpoints": _hits(results).items()}
    return "\n".join(
        "\n".join([title, *(f"  {count:5}  {name}" for name, count in found)]) for title, found in counts.items()
    )


def bar(results: Sequence[Result]) -> dict[str, tuple[int, int]]:
    """What a full run needs, and what this one has; of what each durability needs, the lesser of both."""
    columns = [_of(results, durability) for durability in DURABILITIES]
    hits = _hits(results)
    return {
        "seeds in each durability": (SEEDS_MIN, min(map(_seeds, columns))),
        "faults from outside": (FAULTS_MIN, _faults(results)),
        "self-kills": (HITS_MIN, hits.total()),
        "self-kills at each point": (1, min(hits.values())),
        "bookings acknowledged in each durability": (ACCEPTED_MIN, min(map(_accepted, columns))),
    }


def bar_line(results: Sequence[Result]) -> str:
    """Whether the run was long enough to say much."""
    short = [f"{name}: {has:,} of {least:,}" for name, (least, has) in bar(results).items() if has < least]
    return "a full run has more: " + ", ".join(short) if short else "a full run"


def as_facts(results: Sequence[Result]) -> dict[str, object]:
    """The run as JSON has it, apart from the trials."""
    return {
        "faults": _faults(results),
        "failpoint_hits": _hits(results).total(),
        "accepted": _accepted(results),
        "bar": {name: {"at_least": least, "has": has} for name, (least, has) in bar(results).items()},
        "broken": sorted({name for result in results for name in result.broken}),
    }


def _of(results: Sequence[Result], durability: str) -> list[Result]:
    return [result for result in results if result.durability == durability]


def _seeds(results: Sequence[Result]) -> int:
    return len({result.seed for result in results})


def _faults(results: Sequence[Result]) -> int:
    return sum(sum(result.faults.values()) for result in results)


def _accepted(results: Sequence[Result]) -> int:
    return sum(result.accepted for result in results)


def _hits(results: Sequence[Result]) -> Counter[str]:
    """How often each failpoint killed, those that never did with 0."""
    hits: Counter[str] = Counter({str(point): 0 for point in Failpoint})
    for result in results:
        hits.update(result.failpoints)
    return hits


def _violations(results: Sequence[Result], *names: str) -> int:
    """The number of violations of these checks, or of all."""
    return sum(len(result.violations[name]) for result in results for name in names or result.violations)


def _median(seconds: Sequence[float]) -> float | None:
    return median_high(seconds) if seconds else None


def _shown(figure: float | None) -> str:
    if figure is None:
        return "none"
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.1f}"


FIGURES: dict[str, Callable[[Sequence[Result]], float | None]] = {
    "seeds": _seeds,
    "minutes of faults": lambda results: round(sum(result.seconds for result in results) / 60),
    "faults from outside": _faults,
    "self-kills at failpoints": lambda results: _hits(results).total(),
    "self-kills at the point that was hit least": lambda results: min(_hits(results).values()),
    "requests": lambda results: sum(result.requests for result in results),
    "bookings acknowledged": _accepted,
    "tickets oversold": lambda results: _violations(results, *OVERSALES),
    "acknowledged bookings and cancellations lost": lambda results: _violations(results, *LOSSES),
    "keys that made two bookings": lambda results: _violations(results, *DUPLICATES),
    "acknowledged bookings rejected": lambda results: sum(result.rejected for result in results),
    "drifts repaired": lambda results: sum(result.repairs for result in results),
    "violations of any check": _violations,
    "seconds from the last fault until everything is final, at most": lambda results: max(
        (result.to_final_s for result in results if result.to_final_s is not None), default=None
    ),
    "seconds from Redis being back until a sale, median amid other faults": lambda results: _median(
        [second for result in results for second in result.to_sale_s]
    ),
}
"""The rows of the table."""
