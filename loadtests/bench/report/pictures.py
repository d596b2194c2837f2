"""The pictures of a bench, one for each theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.bench.cases.pages import BLOCK
from loadtests.bench.report.picture import DrawnBar, Line, bar_picture, line_picture
from loadtests.bench.report.spread import spread_of
from loadtests.bench.report.tables import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.bench.cases.growth import Growth
    from loadtests.bench.report.results import Results


def pictures(results: Results) -> dict[str, str]:
    """Pictures as SVG, by the themes they are of."""
    drawn = {}
    if results.measures:
        drawn["rates"] = _rates(results)
        drawn["cpu"] = _cpu(results)
    if results.drains:
        drawn["drain"] = _drain(results)
    if results.halves and results.full:
        drawn["waits"] = _waits(results)
    if results.full:
        drawn["backlog"] = line_picture(
            "Unpersisted bookings at full load",
            [Line("backlog", results.full.at_s, [float(left) for left in results.full.backlog])],
            x_unit="seconds",
            y_unit="bookings",
        )
    if results.growth:
        drawn |= _growth(results.growth)
    return drawn


def _growth(growth: Growth) -> dict[str, str]:
    drawn = {}
    for theme in dict.fromkeys(each.theme for each in growth.grown):
        cases = [each for each in growth.grown if each.theme == theme]
        bars = [
            spread_bar(f"{each.case}, {label}", rates)
            for each in cases
            for label, rates in ((each.small_label, each.small), (each.large_label, each.large))
        ]
        title = f"Growth: {cases[0].title}, {cases[0].small_label} and {cases[0].large_label}"
        drawn[f"growth-{theme}"] = bar_picture(title, bars, unit="per second")
    if growth.walks:
        lines = [
            Line(walk.title, [float(BLOCK * block) for block in range(1, len(walk.block_ms) + 1)], walk.block_ms)
            for walk in growth.walks
        ]
        drawn["growth-pages"] = line_picture("Lists by cursor", lines, x_unit="page", y_unit="milliseconds")
    if growth.memory:
        bars = [
            DrawnBar("pending", [growth.memory.pending_bytes]),
            DrawnBar("persisted", [growth.memory.retired_bytes]),
        ]
        drawn["growth-memory"] = bar_picture("Redis for one booking", bars, unit="bytes")
    return drawn


def spread_bar(label: str, values: Sequence[float]) -> DrawnBar:
    """A bar as long as the median, with its spread."""
    spread = spread_of(values)
    return DrawnBar(label, [spread.median], spread.low, spread.high)


def _rates(results: Results) -> str:
    bars = [spread_bar(f"({each.letter}) {each.title}", each.rates) for each in results.measures if each.letter != "z"]
    return bar_picture("One API process, side by side", bars, unit="requests per second")


def _cpu(results: Results) -> str:
    bars = [
        DrawnBar(
            f"({measure.letter}) {measure.title}",
            [spread_of([each.cpu_ms.get(part, 0.0) for each in measure.rounds]).median for part in PARTS],
        )
        for measure in results.measures
        if measure.letter != "z"
    ]
    return bar_picture("CPU of one request", bars, unit="milliseconds", parts=PARTS)


def _drain(results: Results) -> str:
    bars = [
        spread_bar("one worker", [each.persisted_per_second for each in results.drains]),
        spread_bar("bare INSERT … SELECT unnest", [each.bare_per_second for each in results.drains]),
    ]
    return bar_picture("Draining a full backlog", bars, unit="bookings per second")


def _waits(results: Results) -> str:
    full = results.full
    bars = [
        spread_bar("POST p99, half load", [each.post_p99_ms for each in results.halves]),
        spread_bar("confirmed p50, half load", [each.confirm_p50_ms for each in results.halves]),
        spread_bar("confirmed p99, half load", [each.confirm_p99_ms for each in results.halves]),
    ]
    if full:
        bars += [
            DrawnBar("confirmed p50, full load", [full.confirm_p50_ms]),
            DrawnBar("confirmed p99, full load", [full.confirm_p99_ms]),
        ]
    return bar_picture("How long a booking takes", bars, unit="milliseconds")
