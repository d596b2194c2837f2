"""Conversion of times to milliseconds and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded down."""
    return (moment - _BEGINNING) // _MILLISECOND


def to_ms_up(moment: datetime) -> int:
    """Whole milliseconds since 1970, rounded up."""
    return -((_BEGINNING - moment) // _MILLISECOND)


def from_ms(milliseconds: int) -> datetime:
    """A time in UTC, with its time zone."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
