"""Counts and sums that several reports share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Integer, and_, cast, func

from domain.kernel.bookings import BookingStatus
from domain.sales.events import ROOM
from domain.store.postgres.patterns import ESCAPE, literally
from domain.store.postgres.tables import accounts, bookings, counters, events

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ACTIVE = bookings.c.status == BookingStatus.CONFIRMED
"""Bookings that hold tickets."""

ROOM_OF_EVENT = and_(counters.c.event_id == events.c.id, counters.c.counter == ROOM)
"""Joins an event with the counter of its tickets."""

STORED_STATUSES = (BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED)
"""The statuses in PostgreSQL, which has no pending bookings."""


def counted(names: Iterable[str], rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    """The count of each name, 0 for names without a row."""
    return {str(name): 0 for name in names} | {row[0]: row[1] for row in rows}


def total(column: ColumnElement[int]) -> ColumnElement[int]:
    """The sum of a column, 0 without rows."""
    return cast(func.coalesce(func.sum(column), 0), Integer)


def with_email(search: str | None, *, of: ColumnElement[str] = accounts.c.email) -> list[ColumnElement[bool]]:
    """Conditions for accounts, or other rows, with `search` in their e-mail address, in any case."""
    return [of.icontains(literally(search), escape=ESCAPE)] if search else []
