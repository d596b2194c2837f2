"""The report of a bench, for people: tables of markdown that read as plain text too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.bench.report.bars import bars_of
from loadtests.bench.report.figure import number
from loadtests.bench.report.spread import ratio_of, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.bench.cases.confirming import Full, Half
    from loadtests.bench.cases.drain import Drained
    from loadtests.bench.cases.growth import Growth
    from loadtests.bench.cases.rush import Rush
    from loadtests.bench.report.results import Measure, Results

IDLE_PARTS = ("valkey", "worker", "postgres")

REFERENCE = "bare_post"
"""What every case is compared with."""

PARTS = ("program", "valkey", "worker", "postgres", "generator")
"""The columns of CPU time. `program` is what was asked: the API, a bare application, the baseline."""


def report(results: Results) -> str:
    """The whole report."""
    sections = [_head(results)]
    if results.measures:
        sections += [cases_table(results), cpu_table(results.measures)]
    if results.drains:
        sections.append(drain_table(results.drains))
    if results.halves or results.full:
        sections.append(waits_table(results.halves, results.full))
    if results.growth:
        sections.append(growth_tables(results.growth))
    if results.rush:
        sections.append(rush_table(results.rush))
    return "\n\n".join([*sections, bars_table(results)])


def table(heads: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; the first column to the left, the others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(heads, *lines, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(
        f"| {' | '.join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])} |"
        for line in (heads, rule, *lines)
    )


def cases_table(results: Results) -> str:
    """Rates of the cases side by side; the ratio is the median of those within each round."""
    bare = results.rates(REFERENCE)
    lines = []
    for measure in results.measures:
        rate = spread_of(measure.rates)
        lines.append(
            [
                f"({measure.letter}) {measure.title}",
                *(number(value) for value in (rate.median, rate.low, rate.high)),
                number(ratio_of(measure.rates, bare).median) if bare else "-",
                number(spread_of([each.p50_ms for each in measure.rounds]).median),
                number(spread_of([each.p99_ms for each in measure.rounds]).median),
            ]
        )
    return table(["Requests", "per s", "lowest", "highest", "to bare POST", "p50 ms", "p99 ms"], lines)


def cpu_table(measures: Sequence[Measure]) -> str:
    """What one request of each case costs each part."""
    lines = [
        [
            f"({measure.letter}) {measure.title}",
            *(f"{spread_of([each.cpu_ms.get(part, 0.0) for each in measure.rounds]).median:.3f}" for part in PARTS),
        ]
        for measure in measures
    ]
    return table(["CPU ms per request", *PARTS], lines)


def drain_table(drains: Sequence[Drained]) -> str:
    """The worker beside bare inserts."""
    lines = []
    for title, rates in (
        (f"(g) one worker, {drains[0].bookings:,} waiting", [each.persisted_per_second for each in drains]),
        ("(g) bare INSERT … SELECT unnest", [each.bare_per_second for each in drains]),
    ):
        rate = spread_of(rates)
        lines.append([title, *(number(value) for value in (rate.median, rate.low, rate.high))])
    cpu = {part: spread_of([each.cpu_ms[part] for each in drains]).median for part in drains[0].cpu_ms}
    costs = ", ".join(f"{part} {used:.3f}" for part, used in cpu.items())
    return table(["Draining", "per s", "lowest", "highest"], lines) + f"\n\nCPU ms per booking drained: {costs}"


def waits_table(halves: Sequence[Half], full: Full | None) -> str:
    """How long bookings take to be answered, and to be confirmed."""
    lines = []
    for what, name in (
        ("POST p50", "post_p50_ms"),
        ("POST p99", "post_p99_ms"),
        ("202 to confirmed p50", "confirm_p50_ms"),
        ("202 to confirmed p99", "confirm_p99_ms"),
        ("the generator was late, p99", "late_p99_ms"),
    ):
        half = spread_of([getattr(each, name) for each in halves]) if halves else None
        whole = getattr(full, name, None)
        lines.append(
            [
                f"(h) {what}",
                *([number(half.median), number(half.low), number(half.high)] if half else ["-"] * 3),
                "-" if whole is None else number(whole),
            ]
        )
    found = table(["ms", "half load", "lowest", "highest", "full load"], lines)
    if halves:
        found += f"\n\nHalf load: {number(halves[0].per_second)} bookings/s, open loop, times from when each was due."
    if full:
        shares = ", ".join(f"{part} {share:.0%}" for part, share in full.shares.items())
        found += (
            f"\n\nFull load: {number(full.per_second)} bookings/s for {full.seconds:.0f} s; backlog at most"
            f" {max(full.backlog):,}, {'growing' if full.growing else 'not growing'}. Of a core: {shares}."
        )
    return found


def growth_tables(growth: Growth) -> str:
    """What grows, and what is kept of each rate."""
    sections = [grown_table(growth), idle_table(growth)]
    if growth.walks:
        lines = [[walk.title, f"{walk.pages:,}", number(walk.first_ms), number(walk.last_ms)] for walk in growth.walks]
        sections.append(table(["Pages by cursor", "pages", "first ms", "last ms"], lines))
    if growth.memory:
        memory = growth.memory
        sections.append(
            f"Redis for one booking, over {memory.bookings:,}: {number(memory.pending_bytes)} bytes while it is"
            f" pending, {number(memory.retired_bytes)} once it was persisted, until its record expires."
        )
    return "\n\n".join(sections)


def grown_table(growth: Growth) -> str:
    """Rates of the small and the large side, and what is kept of the small one's in the same round."""
    lines = []
    for each in growth.grown:
        kept = ratio_of(each.large, each.small)
        rates = [number(spread_of(side).median) for side in (each.small, each.large)]
        shares = [number(share) for share in (kept.median, kept.low, kept.high)]
        lines.append([f"{each.title}, {each.small_label} and {each.large_label}: {each.case}", *rates, *shares])
    return table(["Growth", "per s, small", "large", "kept", "lowest", "highest"], lines)


def idle_table(growth: Growth) -> str:
    """What each side uses while nobody asks anything."""
    lines = [
        [f"{each.theme}, {each.label}", *(f"{each.shares.get(part, 0):.1%}" for part in IDLE_PARTS)]
        for each in growth.idles
    ]
    return table(["Of a core, while nothing is asked", *IDLE_PARTS], lines)


def rush_table(rush: Rush) -> str:
    """The rush, figure by figure."""
    held = "never all at once" if rush.held_seconds is None else f"{rush.held_seconds:.2f} s"
    lines = [
        ["requests", f"{rush.requests:,}"],
        ["requests in the busiest second", f"{rush.requests_per_second_peak:,}"],
        ["accepted", f"{rush.accepted:,}"],
        ["accepted, p50", f"{number(rush.accepted_p50_ms)} ms"],
        ["accepted, p99", f"{number(rush.accepted_p99_ms)} ms"],
        ["refused", f"{rush.refused:,}"],
        ["failed", f"{sum(rush.failed.values()):,}"],
        ["all tickets held after", held],
        ["202 to confirmed, p99", "-" if rush.confirmed_p99_ms is None else f"{number(rush.confirmed_p99_ms)} ms"],
        ["promises broken", ", ".join(rush.violated) or "none"],
        ["the generator's busiest second", f"{rush.generator_share_peak:.0%} of a core"],
    ]
    return table([f"Rush: {rush.profile}, {rush.buyers:,} buyers", ""], lines)


def bars_table(results: Results) -> str:
    """Each bar with its figure."""
    return table(
        ["Bar", "needed", "found", ""],
        [[bar.title, bar.needed, bar.found, bar.verdict] for bar in bars_of(results)],
    )


def _head(results: Results) -> str:
    machine = ", ".join(f"{name} {value}" for name, value in results.machine.items())
    options = ", ".join(f"{name} {value}" for name, value in results.options.items())
    return f"{results.started_at}; {machine}; generator {results.generator}; {options}"
