"""Counts and sums that several reports share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, ColumnElement, Integer, ScalarSelect, and_, case, cast, func, select

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

STORED_STATUSES = (
    BookingStatus.HELD,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
    BookingStatus.EXPIRED,
    BookingStatus.REJECTED,
)
"""The statuses in PostgreSQL, which has no pending bookings."""

STATUS_NOW = case(
    (and_(bookings.c.status == BookingStatus.HELD, bookings.c.due_at <= func.now()), BookingStatus.EXPIRED),
    else_=bookings.c.status,
)
"""The status of a booking as it is told: a hold has expired at its deadline, persisted or not."""


def _of_event(value: ColumnElement[int], *conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    """A sum over the bookings of the event of a row."""
    summed = select(cast(func.coalesce(func.sum(value), 0), BigInteger))
    return summed.where(bookings.c.event_id == events.c.id, *conditions).correlate(events).scalar_subquery()


_HELD = bookings.c.status == BookingStatus.HELD

_HELD_ROOM = _of_event(cast(func.substring(bookings.c.claims, f"{ROOM}=([0-9]+)"), Integer), _HELD)
"""What holds take of the counter of an event's tickets."""

SOLD = case((events.c.typed, _of_event(bookings.c.quantity, ACTIVE)), else_=counters.c.taken - _HELD_ROOM)
"""The tickets of an event's confirmed bookings: holds are not sold.

Tickets of an event with ticket types may take no room, or more than one unit. Those of another event are counted
without a look at its bookings.
"""

HELD = _of_event(bookings.c.quantity, _HELD, bookings.c.due_at > func.now())
"""The tickets of an event that are on hold."""

REVENUE_MINOR = case((events.c.typed, _of_event(bookings.c.amount_minor, ACTIVE)), else_=0)
"""What the confirmed bookings of an event cost together, in its currency."""


def counted(names: Iterable[str], rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    """The count of each name, 0 for names without a row."""
    return {str(name): 0 for name in names} | {row[0]: row[1] for row in rows}


def total(column: ColumnElement[int]) -> ColumnElement[int]:
    """The sum of a column, 0 without rows."""
    return cast(func.coalesce(func.sum(column), 0), Integer)


def by_currency(rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    """Revenue by currency, of rows with a currency and an amount; without events that have no prices."""
    return {row[0]: int(row[1]) for row in rows if row[0] is not None}


def with_email(search: str | None, *, of: ColumnElement[str] = accounts.c.email) -> list[ColumnElement[bool]]:
    """Conditions for accounts, or other rows, with `search` in their e-mail address, in any case."""
    return [of.icontains(literally(search), escape=ESCAPE)] if search else []
