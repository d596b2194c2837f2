"""Figures as they are written."""

from __future__ import annotations


def number(value: float) -> str:
    """A figure with three digits or so, thousands apart."""
    if abs(value) >= 100:  # noqa: PLR2004  (three digits)
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004
