"""Pictures of figures as SVG: bars with their spread, and lines."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.report.figures import number

if TYPE_CHECKING:
    from collections.abc import Sequence

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


class Line(Struct, frozen=True):
    """A line through points."""

    label: str
    xs: list[float]
    ys: list[float]


def bar_picture(title: str, bars: Sequence[DrawnBar], *, unit: str, parts: Sequence[str] = ()) -> str:
    """Bars below each other, each with its value; `parts` are the names of their parts."""
    room = WIDTH - LABEL_WIDTH - VALUE_WIDTH
    scale = room / (max((max(bar.length, bar.high or 0.0) for bar in bars), default=0.0) or 1.0)
    drawn = [_text(20, 26, title, kind="title"), *_legend(parts, unit)]
    for row, bar in enumerate(bars):
        drawn += _bar(bar, top=HEAD_HEIGHT + row * ROW_HEIGHT, scale=scale)
    return _svg(drawn, height=HEAD_HEIGHT + len(bars) * ROW_HEIGHT + FOOT_HEIGHT // 2, title=title)


def line_picture(title: str, lines: Sequence[Line], *, x_unit: str, y_unit: str) -> str:
    """Lines over one axis, both axes from zero."""
    left, right, bottom = 80, WIDTH - 30, HEAD_HEIGHT + PLOT_HEIGHT
    x_most = max((x for line in lines for x in line.xs), default=0.0) or 1.0
    y_most = max((y for line in lines for y in line.ys), default=0.0) or 1.0
    drawn = [_text(20, 26, title, kind="title"), *_legend([line.label for line in lines], y_unit)]
    for tick in range(TICKS + 1):
        x = left + (right - left) * tick / TICKS
        y = bottom - PLOT_HEIGHT * tick / TICKS
        drawn += [
            f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" stroke="#ddd"/>',
            _text(left - 8, y + 4, number(y_most * tick / TICKS), kind="small", anchor="end"),
            _text(x, bottom + 16, number(x_most * tick / TICKS), kind="small", anchor="middle"),
        ]
    drawn.append(_text(right, bottom + 30, x_unit, kind="small", anchor="end"))
    for index, line in enumerate(lines):
        points = " ".join(
            f"{left + (right - left) * x / x_most:.1f},{bottom - PLOT_HEIGHT * y / y_most:.1f}"
            for x, y in zip(line.xs, line.ys, strict=True)
        )
        colour = COLOURS[index % len(COLOURS)]
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return _svg(drawn, height=bottom + FOOT_HEIGHT, title=title)


def _bar(bar: DrawnBar, *, top: float, scale: float) -> list[str]:
    middle = top + BAR_HEIGHT / 2
    drawn = [_text(LABEL_WIDTH - 10, top + 13, bar.label, anchor="end")]
    x = float(LABEL_WIDTH)
    for index, part in enumerate(bar.parts):
        width = part * scale
        colour = COLOURS[index % len(COLOURS)]
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
    for index, name in enumerate(names):
        colour = COLOURS[index % len(COLOURS)]
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
