"""The pictures of a bench as SVG, one for each theme: bars with their spread, and lines."""

from __future__ import annotations

from html import escape
from itertools import cycle
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.pages import BLOCK
from loadtests.bench.report.results import OTHER, THIS, number, spread_of
from loadtests.bench.report.tables import PARTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from loadtests.bench.report.results import Measurements, Results, Series

CEILINGS = ("generator", "locust")
"""Cases that measure no server; their bars would make all others short."""

WIDTH = 900
LABEL_WIDTH = 290
VALUE_WIDTH = 90
ROW_HEIGHT = 26
BAR_HEIGHT = 16
HEAD_HEIGHT = 56
FOOT_HEIGHT = 34
PLOT_HEIGHT = 280
"""Sizes in pixels; a picture is as wide as a page of text."""

COLOURS = ("#2f6fab", "#c4622d", "#4b8b4b", "#8a5a9e", "#77736a")
"""Distinct also in print and for most colour-blind readers."""

GREY = "#555"

STYLE = "text{font:13px sans-serif;fill:#222}.title{font-size:16px;font-weight:bold}.small{font-size:11px;fill:#555}"

TICKS = 4


class DrawnBar(Struct, frozen=True):
    """One bar: its parts from left to right, and the lowest and highest round."""

    label: str
    parts: list[float]
    low: float | None = None
    high: float | None = None

    @property
    def length(self) -> float:
        """The sum of its parts."""
        return sum(self.parts)


def pictures(results: Results) -> dict[str, str]:
    """Pictures as SVG, by theme."""
    drawn = _measured(results.cases)
    if results.backlog:
        title, backlog = "Unpersisted bookings at full load", {"backlog": results.backlog}
        drawn["backlog"] = line_picture(title, backlog, x_unit="seconds", y_unit="bookings")
    for theme in results.growth:
        drawn |= _grown(theme)
    if results.walks:
        lines = {walk.title: [(BLOCK * n, ms) for n, ms in enumerate(walk.block_ms, 1)] for walk in results.walks}
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


def bar_picture(title: str, bars: Sequence[DrawnBar], *, unit: str, parts: Sequence[str] = ()) -> str:
    """Bars below each other, each with its value; `parts` are the names of their parts."""
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / (max((max(bar.length, bar.high or 0.0) for bar in bars), default=0.0) or 1.0)
    drawn = [_text(20, 26, title, kind="title"), *_legend(parts, unit)]
    for row, bar in enumerate(bars):
        drawn += _bar(bar, top=HEAD_HEIGHT + row * ROW_HEIGHT, scale=scale)
    return _svg(drawn, height=HEAD_HEIGHT + len(bars) * ROW_HEIGHT + FOOT_HEIGHT // 2, title=title)


def line_picture(title: str, lines: Mapping[str, Sequence[tuple[float, float]]], *, x_unit: str, y_unit: str) -> str:
    """Lines over one axis, both axes from zero."""
    left, right, bottom = 80, WIDTH - 30, HEAD_HEIGHT + PLOT_HEIGHT
    x_most, y_most = (
        max((point[axis] for points in lines.values() for point in points), default=0.0) or 1.0 for axis in (0, 1)
    )
    drawn = [_text(20, 26, title, kind="title"), *_legend(list(lines), y_unit)]
    for tick in range(TICKS + 1):
        x = left + (right - left) * tick / TICKS
        y = bottom - PLOT_HEIGHT * tick / TICKS
        drawn += [
            f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>',
            _text(left - 8, y + 4, number(y_most * tick / TICKS), kind="small", anchor="end"),
            _text(x, bottom + 16, number(x_most * tick / TICKS), kind="small", anchor="middle"),
        ]
    drawn.append(_text(right, bottom + 30, x_unit, kind="small", anchor="end"))
    for points, colour in zip(lines.values(), cycle(COLOURS), strict=False):
        drawn_points = " ".join(
            f"{left + (right - left) * x / x_most:.1f},{bottom - PLOT_HEIGHT * y / y_most:.1f}" for x, y in points
        )
        drawn.append(f'<polyline points="{drawn_points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _svg(drawn, height=bottom + FOOT_HEIGHT, title=title)


def _bar(bar: DrawnBar, *, top: float, scale: float) -> list[str]:
    middle = top + BAR_HEIGHT / 2
    drawn = [_text(LABEL_WIDTH - 10, top + 13, bar.label, anchor="end")]
    x = float(LABEL_WIDTH)
    for part, colour in zip(bar.parts, cycle(COLOURS), strict=False):
        width = part * scale
        drawn.append(f'<rect x="{x:.1f}" y="{top}" width="{width:.1f}" height="{BAR_HEIGHT}" fill="{colour}"/>')
        x += width
    end = max(x, LABEL_WIDTH + (bar.high or 0.0) * scale)
    if bar.low is not None and bar.high is not None:
        low, high = LABEL_WIDTH + bar.low * scale, LABEL_WIDTH + bar.high * scale
        drawn.append(f'<path d="M{low:.1f} {middle}H{high:.1f}" stroke="{GREY}" stroke-width="2"/>')
        drawn += [f'<path d="M{at:.1f} {top + 3}V{top + 13}" stroke="{GREY}" stroke-width="2"/>' for at in (low, high)]
    return [*drawn, _text(end + 8, top + 13, number(bar.length))]


def _legend(names: Sequence[str], unit: str) -> list[str]:
    drawn, x = [_text(20, 44, unit, kind="small")], float(LABEL_WIDTH)
    for name, colour in zip(names, cycle(COLOURS), strict=False):
        drawn += [
            f'<rect x="{x:.1f}" y="35" width="10" height="10" fill="{colour}"/>',
            _text(x + 14, 44, name, kind="small"),
        ]
        x += 30 + 7 * len(name)
    return drawn


def _text(x: float, y: float, text: str, *, kind: str = "", anchor: str = "start") -> str:
    style = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}>{escape(text)}</text>'


def _svg(drawn: Sequence[str], *, height: float, title: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img"'
        f' aria-label="{escape(title, quote=True)}">'
    )
    background = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>'
    return "\n".join([head, f"<style>{STYLE}</style>", background, *drawn, "</svg>", ""])
