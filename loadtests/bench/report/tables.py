"""The report of a bench: tables of markdown that read as plain text too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.bench.report.bars import bars_of
from loadtests.bench.report.results import OTHER, THIS, number, ratio_of, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.bench.cases.pages import Walk
    from loadtests.bench.report.results import Measurements, Results, Series

REFERENCE = "bare_post"
"""The case that every rate is compared with."""

PARTS = ("program", "valkey", "worker", "postgres", "generator")
"""The columns of CPU time. `program` is what was asked: the API, a bare application, the baseline."""

CPU_MS_MIN = 0.002
"""Less CPU for one request than this is noise: no ratio is given for it."""

OTHER_TABLES = (
    ("Draining", "drain", {"per_second": "bookings per s, workers", "bare_per_second": "rows per s, bare inserts"}),
    ("CPU µs per booking drained", "drain", {f"cpu_us.{part}": part for part in ("valkey", "worker", "postgres")}),
    (
        "Half load, ms",
        "half",
        {
            "post_p50_ms": "POST p50, from when it was due",
            "post_p99_ms": "POST p99",
            "confirm_p50_ms": "202 to confirmed p50",
            "confirm_p99_ms": "202 to confirmed p99",
            "late_p99_ms": "the generator was late, p99",
            "per_second": "bookings per s",
        },
    ),
    (
        "Full load",
        "full",
        {
            "per_second": "bookings per s",
            "seconds": "seconds",
            "post_p99_ms": "POST p99 ms",
            "confirm_p50_ms": "202 to confirmed p50 ms",
            "confirm_p99_ms": "202 to confirmed p99 ms",
            "backlog_max": "largest backlog",
            "growth_s": "seconds that bookings wait longer at its end",
            **{f"core_percent.{part}": f"percent of a core: {part}" for part in ("api", *PARTS[1:])},
        },
    ),
    ("Redis bytes per booking", "memory", {"pending_bytes": "pending", "retired_bytes": "persisted"}),
    ("Resident MiB", "rest", {f"rss_mib.{part}": part for part in ("api", "worker", "valkey")}),
    ("Percent of a core while nothing is asked", "rest", {f"idle_percent.{part}": part for part in PARTS[1:4]}),
)
"""Each table's heading, its measurement, and its rows by figure."""


def report(results: Results) -> str:
    """The whole report."""
    sections = [_head(results), *measurement_tables(results.cases)]
    if results.growth:
        sections.append(growth_table(results.growth))
        for theme in results.growth:
            sections += [f"{theme.title}; {_sides(theme)}", *_other_tables(theme)]
    if results.walks:
        sections.append(walks_table(results.walks))
    if results.rush:
        sections.append(results.rush.table)
    if bars := bars_of(results):
        sections.append(table(["Bar", "needed", "found", ""], [bar.cells for bar in bars]))
    return "\n\n".join(sections)


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        f"| {' | '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])} |"
        for line in (heads, rule, *lines)
    )


def measurement_tables(found: Measurements) -> list[str]:
    """Rates and CPU of the cases, then every other figure: of one side, or of two with their ratio."""
    cases = [series for series in found.series.values() if series.values("count")]
    if not cases:
        return _other_tables(found)
    if OTHER in found.labels:
        rates = _spreads("Requests per s", [(case.title, case, "per_second") for case in cases])
        p99s = _spreads("p99 ms", [(case.title, case, "p99_ms") for case in cases])
        return [rates, p99s, _compared_cpu(cases), *_other_tables(found)]
    return [_rates(cases, found.values(REFERENCE, "per_second")), _cpu(cases), *_other_tables(found)]


def _rates(cases: Sequence[Series], reference: Sequence[float]) -> str:
    """Rates of the cases side by side; the ratio is the median of those within each round."""
    lines = []
    for case in cases:
        rates = case.values("per_second")
        ratio = number(ratio_of(rates, reference).median) if reference else "-"
        times = [number(spread_of(case.values(figure)).median) for figure in ("p50_ms", "p99_ms")]
        lines.append([case.title, *spread_of(rates).cells, ratio, *times])
    return table(["Requests", "per s", "lowest", "highest", "to bare POST", "p50 ms", "p99 ms"], lines)


def _cpu(cases: Sequence[Series]) -> str:
    """CPU of each part for one request of each case."""
    lines = [
        [case.title, *(f"{spread_of(case.values(f'cpu_ms.{part}') or [0.0]).median:.3f}" for part in PARTS)]
        for case in cases
    ]
    return table(["CPU ms per request", *PARTS], lines)


def _compared_cpu(cases: Sequence[Series]) -> str:
    """CPU of both sides for one request: of all parts but the generator, and of each that uses enough to compare."""
    lines = []
    for case in cases:
        for name, parts in (("all parts", PARTS[:4]), *((part, (part,)) for part in PARTS[:4])):
            used = [
                [sum(each.get(f"cpu_ms.{part}", 0.0) for part in parts) for each in case.sides[side]]
                for side in (THIS, OTHER)
            ]
            if min(map(min, used)) >= CPU_MS_MIN:
                medians = [f"{spread_of(side).median:.4f}" for side in used]
                lines.append([f"{case.title}: {name}", *medians, *_ratio(*used)])
    return table(["CPU ms per request", *TWO_SIDES], lines)


TWO_SIDES = ("this", "other", "this / other", "lowest", "highest")


def _other_tables(found: Measurements) -> list[str]:
    tables = []
    for head, name, titles in OTHER_TABLES:
        series = found.series.get(name)
        if series:
            tables.append(_spreads(head, [(title, series, figure) for figure, title in titles.items()]))
    return [each for each in tables if each]


def _spreads(head: str, rows: Sequence[tuple[str, Series, str]]) -> str:
    """A table of figures that were measured; empty without any."""
    lines = [
        [title, *_cells(values, series.values(figure, OTHER))]
        for title, series, figure in rows
        if (values := series.values(figure))
    ]
    if not lines:
        return ""
    heads = TWO_SIDES if len(lines[0]) > len(TWO_SIDES) else ("median", "lowest", "highest")
    return table([head, *heads], lines)


def _cells(this: Sequence[float], other: Sequence[float]) -> list[str]:
    """The spread of one side, or both medians and the spread of their ratio."""
    if not other:
        return spread_of(this).cells
    return [number(spread_of(this).median), number(spread_of(other).median), *_ratio(this, other)]


def _ratio(this: Sequence[float], other: Sequence[float]) -> list[str]:
    if not all(other):
        return ["-"] * 3
    ratio = ratio_of(this, other)
    return [f"{value:.2f}" for value in (ratio.median, ratio.low, ratio.high)]


def growth_table(growth: Sequence[Measurements]) -> str:
    """Rates of the large and the small side of each theme, and the share that the large side keeps."""
    lines = []
    for theme in growth:
        sides = f"{theme.labels[OTHER]} and {theme.labels[THIS]}"
        for name, series in theme.series.items():
            large, small = (series.values("per_second", side) for side in (THIS, OTHER))
            if large and small:
                medians = [number(spread_of(side).median) for side in (small, large)]
                lines.append([f"{theme.title}, {sides}: {name}", *medians, *_ratio(large, small)])
    return table(["Growth", "per s, small", "large", "kept", "lowest", "highest"], lines)


def walks_table(walks: Sequence[Walk]) -> str:
    """Pages of lists, the first and the last."""
    lines = [[walk.title, f"{walk.pages:,}", number(walk.first_ms), number(walk.last_ms)] for walk in walks]
    return table(["Pages by cursor", "pages", "first ms", "last ms"], lines)


def _head(results: Results) -> str:
    machine, options = (
        ", ".join(f"{name} {value}" for name, value in facts.items()) for facts in (results.machine, results.options)
    )
    head = f"{results.started_at}; {machine}; {options}"
    return f"{head}\n\n{_sides(results.cases)}" if results.cases.labels else head


def _sides(found: Measurements) -> str:
    sides = "; ".join(f"{side}: {label}" for side, label in found.labels.items())
    return f"{sides}. Ratios are medians of those within each round."
