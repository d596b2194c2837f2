"""Bookings: their states, and the claims they are made of."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from msgspec import Struct


class BookingStatus(StrEnum):
    """Where a booking stands."""

    PENDING = "pending"
    """Its places are taken, it is not yet in PostgreSQL."""
    CONFIRMED = "confirmed"
    """It is in PostgreSQL."""
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    """PostgreSQL refused it; its places were returned, `reason` says why."""


TRANSITIONS: dict[BookingStatus, frozenset[BookingStatus]] = {
    BookingStatus.PENDING: frozenset({BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED}),
    BookingStatus.CONFIRMED: frozenset({BookingStatus.CANCELLED}),
    BookingStatus.CANCELLED: frozenset(),
    BookingStatus.REJECTED: frozenset(),
}
"""The states a booking can move to. PostgreSQL never holds `pending`: a row is the proof of `confirmed`."""

FINAL = frozenset({BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED})
"""States in which nobody needs to poll any more."""

HOLDING = frozenset({BookingStatus.PENDING, BookingStatus.CONFIRMED})
"""States in which a booking's claims are taken."""


class Claim(Struct, frozen=True, array_like=True, gc=False):
    """So many of one counter, of which there are `size` in all."""

    counter: str
    quantity: int
    size: int


class NewBooking(Struct, frozen=True, gc=False):
    """A booking somebody asks for; `claims` are computed from the event's terms at that moment."""

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int


class Booking(Struct, frozen=True, gc=False):
    """A booking as it stands.

    `version` grows with every change; PostgreSQL keeps the highest it has seen.
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
        """Whether nobody needs to poll it any more."""
        return self.status in FINAL


class Reservation(Struct, frozen=True, gc=False):
    """What a request for places got: the booking, and whether an earlier request had made it."""

    booking: Booking
    replayed: bool
