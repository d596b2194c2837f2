"""Moments as milliseconds, and back."""

from __future__ import annotations

from datetime import UTC, datetime


def to_ms(moment: datetime) -> int:
    """Milliseconds since the epoch."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """An aware moment in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
