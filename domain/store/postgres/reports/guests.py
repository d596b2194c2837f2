"""Guest lists: an event's bookings with their accounts. Read only, from PostgreSQL alone.

The numbers count what PostgreSQL has; a pending booking is counted a moment later.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import Text, cast, func, select, tuple_

from domain.kernel.bookings import BookingStatus
from domain.sales.order_body import OrderLine, general_order, read_body
from domain.store.postgres.reports.counts import ACTIVE, with_email
from domain.store.postgres.tables import accounts, bookings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.store.postgres.database import Database

SHOWN = (BookingStatus.CONFIRMED, BookingStatus.CANCELLED)
"""The bookings of a complete guest list; a rejected booking never held a ticket."""


GUEST_EMAIL = func.coalesce(bookings.c.body["guest_email"].astext, accounts.c.email)
"""The address of the guest to whom an organizer gave a booking, or that of its account."""


class Guest(Struct, frozen=True):
    """A booking on a guest list. `email` is that of its account, or of the guest to whom an organizer gave it.

    `name` is None if it is not known. `items` are its tickets by type, with their prices in minor units of `currency`.
    """

    booking_id: UUID
    user_id: UUID
    email: str
    quantity: int
    status: BookingStatus
    created_at: datetime
    name: str | None
    items: tuple[OrderLine, ...]
    total_minor: int
    currency: str | None

    @classmethod
    def of(cls, row: Sequence[Any]) -> Guest:
        """A row of the list; a booking without a body has tickets of general admission."""
        booking_id, user_id, email, quantity, status, created_at, name, body, event_id = row
        order = general_order(event_id, quantity) if body is None else read_body(body)
        return cls(
            booking_id,
            user_id,
            email,
            quantity,
            BookingStatus(status),
            created_at,
            name,
            order.items,
            order.total_minor,
            order.currency,
        )


class GuestsAsked(Struct, frozen=True, kw_only=True):
    """A request for a page of an event's guests after the position `after` (created_at, id).

    Guests are the bookings that hold tickets, with `cancelled_too` also cancelled ones.
    """

    event_id: UUID
    limit: int
    after: tuple[datetime, UUID] | None = None
    cancelled_too: bool = False
    search: str | None = None


class GuestLists:
    """Guest lists, for organizers. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def guests(self, asked: GuestsAsked) -> list[Guest]:
        """An event's bookings with their accounts, oldest first by (created_at, id)."""
        statement = (
            select(
                bookings.c.id,
                bookings.c.user_id,
                GUEST_EMAIL,
                bookings.c.quantity,
                bookings.c.status,
                bookings.c.created_at,
                bookings.c.body["guest_name"].astext,
                cast(bookings.c.body, Text),
                bookings.c.event_id,
            )
            .join(accounts, accounts.c.id == bookings.c.user_id)
            .where(
                bookings.c.event_id == asked.event_id,
                bookings.c.status.in_(SHOWN) if asked.cancelled_too else ACTIVE,
                *with_email(asked.search, of=GUEST_EMAIL),
            )
            .order_by(bookings.c.created_at, bookings.c.id)
            .limit(asked.limit)
        )
        if asked.after:
            statement = statement.where(tuple_(bookings.c.created_at, bookings.c.id) > asked.after)
        return [Guest.of(row) for row in await self._database.rows(statement)]
