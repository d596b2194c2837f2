"""Reports: what organizers and admins read about sales and accounts. Read only, PostgreSQL alone.

Numbers are of what PostgreSQL has: a booking that is still pending counts a moment later.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Row, Select, select

from domain.bookings import BookingStatus
from domain.identity import AccountStatus, Role
from domain.store.schema import accounts, bookings

if TYPE_CHECKING:
    from domain.store.postgres import Database

SHOWN = (BookingStatus.CONFIRMED, BookingStatus.CANCELLED)
"""Bookings that a guest list has; a rejected one was never anybody's place."""

ACTIVE = bookings.c.status == BookingStatus.CONFIRMED
"""Bookings that hold places."""


class Guest(Struct, frozen=True):
    """A booking on a guest list."""

    booking_id: UUID
    user_id: UUID
    email: str
    quantity: int
    status: BookingStatus
    created_at: datetime


class AttendeeRow(Struct, frozen=True):
    """An attendee, with its active bookings and the tickets in them."""

    id: UUID
    email: str
    role: Role
    status: AccountStatus
    created_at: datetime
    booking_count: int
    tickets: int


class OrganizerRow(Struct, frozen=True):
    """An organizer, with its events and the tickets sold for them."""

    id: UUID
    email: str
    role: Role
    status: AccountStatus
    created_at: datetime
    event_count: int
    tickets_sold: int


class UserCounts(Struct, frozen=True):
    """What an account has done: as somebody who books, and as somebody who organizes."""

    booking_count: int
    tickets: int
    event_count: int
    tickets_sold: int


class AuditEntry(Struct, frozen=True):
    """What somebody did, when, and to whom or what."""

    id: int
    at: datetime
    actor_id: UUID | None
    action: str
    target_id: UUID | None
    detail: dict[str, Any]


class Totals(Struct, frozen=True):
    """How much there is of everything."""

    users: dict[str, int]
    events: dict[str, int]
    bookings: dict[str, int]


class Reports:
    """Raises Unavailable wherever PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def guests(self, event_id: UUID, *, limit: int, after: UUID | None) -> list[Guest]:
        """An event's bookings with who made them, by id."""
        statement = (
            select(
                bookings.c.id,
                bookings.c.user_id,
                accounts.c.email,
                bookings.c.quantity,
                bookings.c.status,
                bookings.c.created_at,
            )
            .join(accounts, accounts.c.id == bookings.c.user_id)
            .where(bookings.c.event_id == event_id, bookings.c.status.in_(SHOWN))
            .order_by(bookings.c.id)
            .limit(limit)
        )
        if after:
            statement = statement.where(bookings.c.id > after)
        return [
            Guest(row[0], row[1], row[2], row[3], BookingStatus(row[4]), row[5]) for row in await self._rows(statement)
        ]

    async def _rows(self, statement: Select[Any]) -> list[Row[Any]]:
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).all())
