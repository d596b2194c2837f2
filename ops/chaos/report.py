"""What a run of trials adds up to: a table for docs/reliability.md, and the same as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from domain.platform.failpoints import Failpoint
from ops.chaos.recovery import DURABILITY as RECOVERED_WITH

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ops.chaos.recovery import Recovered
    from ops.chaos.trial import Result

SEEDS_MIN = 20
FAULTS_MIN = 1_000
HITS_MIN = 500
ACCEPTED_MIN = 10_000
"""What a run has at least before its zeros say much: faults and self-kills in all, seeds and bookings for each
durability."""

DURABILITIES = ("redis", "postgres")

VIOLATIONS_SHOWN_MAX = 5
"""Of one check; the rest is counted."""

LOSSES = ("no_confirmed_booking_is_lost", "no_accepted_booking_is_lost", "no_cancellation_is_lost")
OVERSALES = ("nothing_is_oversold_in_postgresql", "nothing_is_oversold_in_redis")
DUPLICATES = ("one_booking_per_key", "every_row_was_asked_for")


def line(result: Result) -> str:
    """One trial in one line."""
    final = "never" if result.to_final_s is None else f"{result.to_final_s:.1f} s"
    verdict = "FAIL " + ", ".join(result.broken) if result.broken else "ok"
    return (
        f"seed {result.seed:<4} {result.durability:<8} {sum(result.faults.values()):4} faults "
        f"{sum(result.failpoints.values()):4} self-kills {result.accepted:6} accepted  final after {final:<6} {verdict}"
    )


def violations(result: Result) -> str:
    """What each broken check of a trial found."""
    lines = []
    for name in result.broken:
        found = result.violations[name]
        lines.append(f"    {name.replace('_', ' ')}: {len(found)}")
        lines += [f"      {violation}" for violation in found[:VIOLATIONS_SHOWN_MAX]]
    return "\n".join(lines)


def table(results: Sequence[Result], recovered: Sequence[Recovered] = ()) -> str:
    """All trials, and what was measured apart from them, a column for each durability, in Markdown."""
    columns = sorted({result.durability for result in results}, reverse=True)
    by_column = [[result for result in results if result.durability == column] for column in columns]
    rows = [["", *(f"`DURABILITY={column}`" for column in columns)]]
    rows.append(["---", *("---:" for _ in columns)])
    for name, of in _FIGURES.items():
        rows.append([name, *(of(column) for column in by_column)])
    for each in recovered:
        measured = [f"{each.seconds:.2f}" if column == RECOVERED_WITH else "not measured" for column in columns]
        rows.append([f"seconds: {each.what}, at most {each.most:.0f}", *measured])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def breakdown(results: Sequence[Result]) -> str:
    """How often each fault and each failpoint hit."""
    faults: Counter[str] = Counter()
    for result in results:
        faults.update(result.faults)
    hits = _hits(results)
    lines = [f"  {count:5}  {kind}" for kind, count in sorted(faults.items())]
    return "\n".join(["faults", *lines, "failpoints", *(f"  {count:5}  {point}" for point, count in hits.items())])


def bar(results: Sequence[Result]) -> dict[str, tuple[int, int]]:
    """What a full run has at least, and what this one has; of what each durability needs, the lesser of both."""
    by_durability = [[result for result in results if result.durability == each] for each in DURABILITIES]
    hits = _hits(results)
    return {
        "seeds in each durability": (SEEDS_MIN, min(len({each.seed for each in some}) for some in by_durability)),
        "faults from outside": (FAULTS_MIN, sum(sum(result.faults.values()) for result in results)),
        "self-kills": (HITS_MIN, hits.total()),
        "self-kills at each point": (1, min(hits.values())),
        "bookings acknowledged in each durability": (
            ACCEPTED_MIN,
            min(sum(result.accepted for result in some) for some in by_durability),
        ),
    }


def bar_line(results: Sequence[Result]) -> str:
    """Whether the run was long enough to say much."""
    short = [f"{name}: {has:,} of {least:,}" for name, (least, has) in bar(results).items() if has < least]
    return "a full run has more: " + ", ".join(short) if short else "a full run"


def as_facts(results: Sequence[Result]) -> dict[str, object]:
    """The run as JSON has it, apart from the trials."""
    return {
        "faults": sum(sum(result.faults.values()) for result in results),
        "failpoint_hits": sum(sum(result.failpoints.values()) for result in results),
        "accepted": sum(result.accepted for result in results),
        "bar": {name: {"at_least": least, "has": has} for name, (least, has) in bar(results).items()},
        "broken": sorted({name for result in results for name in result.broken}),
    }


def _hits(results: Sequence[Result]) -> Counter[str]:
    """How often each failpoint killed, those that never did with 0."""
    hits: Counter[str] = Counter({str(point): 0 for point in Failpoint})
    for result in results:
        hits.update(result.failpoints)
    return hits


def _count(names: Iterable[str], results: list[Result]) -> str:
    return str(sum(len(result.violations[name]) for result in results for name in names))


def _all(results: list[Result]) -> str:
    return str(sum(len(found) for result in results for found in result.violations.values()))


def _longest(seconds: Iterable[float | None]) -> str:
    known = [second for second in seconds if second is not None]
    return f"{max(known):.1f}" if known else "none"


def _median(seconds: Iterable[float]) -> str:
    known = sorted(seconds)
    return f"{known[len(known) // 2]:.1f}" if known else "none"


_FIGURES: dict[str, Callable[[list[Result]], str]] = {
    "seeds": lambda results: str(len({result.seed for result in results})),
    "minutes of faults": lambda results: f"{sum(result.seconds for result in results) / 60:.0f}",
    "faults from outside": lambda results: str(sum(sum(result.faults.values()) for result in results)),
    "self-kills at failpoints": lambda results: str(sum(sum(result.failpoints.values()) for result in results)),
    "self-kills at the point that was hit least": lambda results: str(min(_hits(results).values())),
    "requests": lambda results: f"{sum(result.requests for result in results):,}",
    "bookings acknowledged": lambda results: f"{sum(result.accepted for result in results):,}",
    "places oversold": lambda results: _count(OVERSALES, results),
    "acknowledged bookings and cancellations lost": lambda results: _count(LOSSES, results),
    "keys that made two bookings": lambda results: _count(DUPLICATES, results),
    "acknowledged bookings rejected": lambda results: str(sum(result.rejected for result in results)),
    "drifts repaired": lambda results: str(sum(result.repairs for result in results)),
    "violations of any check": _all,
    "seconds from the last fault until everything is final, at most": lambda results: _longest(
        result.to_final_s for result in results
    ),
    "seconds from Redis being back until a sale, median amid other faults": lambda results: _median(
        second for result in results for second in result.to_sale_s
    ),
}
