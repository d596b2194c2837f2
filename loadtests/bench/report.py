"""The report of a bench: what was measured, as JSON for programs and as tables for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.spread import Spread, ratio_of, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.bench.cases import Case, Measured

REFERENCE = "bare_post"
"""What every case is compared with."""

PARTS = ("program", "valkey", "worker", "postgres", "generator")
"""The columns of CPU time. `program` is what was asked: the API, a bare application, the baseline."""

NOTHING = "-"


class Row(Struct, frozen=True, kw_only=True):
    """A case over all rounds. `to_bare` is its rate by that of a bare POST in the same round."""

    name: str
    letter: str
    title: str
    per_second: Spread
    to_bare: Spread | None
    p50_ms: Spread
    p99_ms: Spread
    cpu_ms: dict[str, Spread]


def rows_of(cases: Sequence[Case], rounds: dict[str, list[Measured]]) -> list[Row]:
    """One row for each case that was measured."""
    bare = [measured.per_second for measured in rounds.get(REFERENCE, [])]
    return [_row(case, rounds[case.name], bare) for case in cases if rounds.get(case.name)]


def _row(case: Case, measured: Sequence[Measured], bare: Sequence[float]) -> Row:
    rates = [each.per_second for each in measured]
    return Row(
        name=case.name,
        letter=case.letter,
        title=case.title,
        per_second=spread_of(rates),
        to_bare=ratio_of(rates, bare) if bare else None,
        p50_ms=spread_of([each.p50_ms for each in measured]),
        p99_ms=spread_of([each.p99_ms for each in measured]),
        cpu_ms={part: spread_of([each.cpu_ms.get(part, 0.0) for each in measured]) for part in PARTS},
    )


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table of markdown that reads as plain text too; the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        f"| {' | '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])} |"
        for line in (heads, rule, *lines)
    )


def number(value: float) -> str:
    """A figure with as many digits as it deserves."""
    if value >= 100:  # noqa: PLR2004  (three digits)
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004


def cases_table(rows: Sequence[Row]) -> str:
    """Rates of the cases side by side."""
    heads = ["", "per s", "lowest", "highest", "to bare POST", "p50 ms", "p99 ms"]
    return table(
        heads,
        [
            [
                f"({row.letter}) {row.title}",
                number(row.per_second.median),
                number(row.per_second.low),
                number(row.per_second.high),
                number(row.to_bare.median) if row.to_bare else NOTHING,
                number(row.p50_ms.median),
                number(row.p99_ms.median),
            ]
            for row in rows
        ],
    )


def cpu_table(rows: Sequence[Row]) -> str:
    """What one request of each case costs each part."""
    lines = [[f"({row.letter}) {row.title}", *(f"{row.cpu_ms[part].median:.3f}" for part in PARTS)] for row in rows]
    return table(["CPU ms per request", *PARTS], lines)
