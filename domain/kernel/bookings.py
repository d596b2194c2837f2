"""Bookings: their states, and the claims that they consist of."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class BookingStatus(StrEnum):
    """The state of a booking."""

    PENDING = "pending"
    """Its tickets are taken, but PostgreSQL does not have it yet."""
    CONFIRMED = "confirmed"
    """PostgreSQL has the booking."""
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    """PostgreSQL refused it and its tickets were returned; `reason` says why."""


TRANSITIONS: dict[BookingStatus, frozenset[BookingStatus]] = {
    BookingStatus.PENDING: frozenset({BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED}),
    BookingStatus.CONFIRMED: frozenset({BookingStatus.CANCELLED}),
    BookingStatus.CANCELLED: frozenset({BookingStatus.REJECTED}),
    BookingStatus.REJECTED: frozenset(),
}
"""The states that a booking can move to.

PostgreSQL never stores `pending`: a row proves that the booking was confirmed. A booking that was cancelled before it
was persisted becomes `rejected` if PostgreSQL refuses it.
"""

FINAL = frozenset(TRANSITIONS) - {BookingStatus.PENDING}
"""States at which a client can stop polling. Only `cancelled` may still change by itself, to `rejected`."""

HOLDING = frozenset(status for status, successors in TRANSITIONS.items() if BookingStatus.CANCELLED in successors)
"""States in which a booking holds its claims, and in which it can be cancelled."""


class Claim(Struct, frozen=True, array_like=True, gc=False):
    """A claim of `quantity` units of one counter, whose total is `size`."""

    counter: str
    quantity: int
    size: int


class TicketOrder(Struct, frozen=True, gc=False):
    """What a caller orders: `quantity` tickets of an event. A repeated order with the same key is the same order."""

    event_id: UUID
    quantity: int
    idempotency_key: str | None = None


class NewBooking(Struct, frozen=True, gc=False):
    """A requested booking. Its claims are computed from the terms of the event at the time of the request."""

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    idempotency_key: str | None = None


class Booking(Struct, frozen=True, gc=False):
    """A booking in one version.

    `version` grows with every change; PostgreSQL keeps the highest version that it has received.
    """

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: BookingStatus
    version: int
    created_at: datetime
    confirmed_at: datetime | None = None
    cancelled_at: datetime | None = None
    reason: str | None = None

    @property
    def final(self) -> bool:
        """Whether its state is in FINAL, so that polling can stop."""
        return self.status in FINAL


class Reservation(Struct, frozen=True, gc=False):
    """The result of a request for tickets: the booking, and whether an earlier request had made it."""

    booking: Booking
    replayed: bool
