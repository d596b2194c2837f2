"""The pictures of a bench, one for each theme."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loadtests.bench.cases.pages import BLOCK
from loadtests.bench.report.figures import spread_of
from loadtests.bench.report.picture import DrawnBar, Line, bar_picture, line_picture
from loadtests.bench.report.results import OTHER, THIS
from loadtests.bench.report.tables import PARTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.bench.cases.pages import Walk
    from loadtests.bench.report.results import Measurements, Results, Series

CEILINGS = ("generator", "locust")
"""Cases that measure no server; their bars would make all others short."""


def pictures(results: Results) -> dict[str, str]:
    """Pictures as SVG, by theme."""
    drawn = _measured(results.cases)
    if results.backlog:
        backlog = Line("backlog", *([float(each) for each in axis] for axis in zip(*results.backlog, strict=True)))
        drawn["backlog"] = line_picture(
            "Unpersisted bookings at full load", [backlog], x_unit="seconds", y_unit="bookings"
        )
    for theme in results.growth:
        drawn |= _grown(theme)
    if results.walks:
        lines = [_line_of(walk) for walk in results.walks]
        drawn["growth-pages"] = line_picture("Lists by cursor", lines, x_unit="page", y_unit="milliseconds")
    return drawn


def spread_bar(label: str, values: Sequence[float]) -> DrawnBar:
    """A bar as long as the median, with its spread."""
    spread = spread_of(values)
    return DrawnBar(label, [spread.median], spread.low, spread.high)


def _measured(found: Measurements) -> dict[str, str]:
    cases = [case for name, case in found.series.items() if case.values("count") and name not in CEILINGS]
    drawn = {}
    if cases:
        rates = [spread_bar(case.title, case.values("per_second")) for case in cases]
        drawn["rates"] = bar_picture("One API process, side by side", rates, unit="requests per second")
        cpu = [DrawnBar(case.title, [_cpu_ms(case, part) for part in PARTS]) for case in cases]
        drawn["cpu"] = bar_picture("CPU of one request", cpu, unit="milliseconds", parts=PARTS)
    if drain := found.series.get("drain"):
        titles = {"per_second": "one worker", "bare_per_second": "bare INSERT … SELECT unnest"}
        drawn["drain"] = bar_picture("Draining a full backlog", _bars(drain, titles), unit="bookings per second")
    if (half := found.series.get("half")) and (full := found.series.get("full")):
        confirmed = {"confirm_p50_ms": "confirmed p50", "confirm_p99_ms": "confirmed p99"}
        bars = _bars(half, _titled({"post_p99_ms": "POST p99"} | confirmed, "half load"))
        bars += _bars(full, _titled(confirmed, "full load"))
        drawn["waits"] = bar_picture("How long a booking takes", bars, unit="milliseconds")
    return drawn


def _grown(theme: Measurements) -> dict[str, str]:
    name = theme.title.replace(" ", "-").lower()
    bars = [
        spread_bar(f"{case}, {theme.labels[side]}", rates)
        for case, series in theme.series.items()
        for side in (OTHER, THIS)
        if (rates := series.values("per_second", side))
    ]
    title = f"Growth: {theme.title}, {theme.labels[OTHER]} and {theme.labels[THIS]}"
    drawn = {f"growth-{name}": bar_picture(title, bars, unit="per second")}
    if memory := theme.series.get("memory"):
        bars = _bars(memory, {"pending_bytes": "pending", "retired_bytes": "persisted"})
        drawn["growth-memory"] = bar_picture("Redis for one booking", bars, unit="bytes")
    return drawn


def _bars(series: Series, titles: dict[str, str]) -> list[DrawnBar]:
    return [spread_bar(title, values) for figure, title in titles.items() if (values := series.values(figure))]


def _titled(figures: dict[str, str], load: str) -> dict[str, str]:
    return {figure: f"{title}, {load}" for figure, title in figures.items()}


def _cpu_ms(case: Series, part: str) -> float:
    return spread_of(case.values(f"cpu_ms.{part}") or [0.0]).median


def _line_of(walk: Walk) -> Line:
    return Line(walk.title, [float(BLOCK * block) for block in range(1, len(walk.block_ms) + 1)], walk.block_ms)
