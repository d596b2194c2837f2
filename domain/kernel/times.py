"""Conversion of times to milliseconds and back."""

from __future__ import annotations

from datetime import UTC, datetime


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """A time in UTC, with its time zone."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
