"""Unpersisted bookings: the form in which a write batch carries a booking from Redis to PostgreSQL."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from msgspec import Struct

from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.times import from_ms, to_ms

NO_EPOCH = 0
"""The epoch of an entry whose record is gone; lower than every real epoch."""


class Unpersisted(Struct, frozen=True, array_like=True, gc=False):
    """One entry of an unpersisted set with its record. Up to five hundred are read and written at a time.

    To save conversions, ids are text and times are milliseconds: Redis returns them so and PostgreSQL accepts them so.
    An absent value is 0 or ''. When the record is gone, only `id` is known.
    """

    id: str
    epoch: int = NO_EPOCH
    event_id: str = ""
    user_id: str = ""
    quantity: int = 0
    status: BookingStatus = BookingStatus.REJECTED
    version: int = 0
    created_ms: int = 0
    cancelled_ms: int = 0
    reason: str = ""
    claims: str = ""
    fingerprint: str = ""
    due_ms: int = 0
    taken_ms: int = 0
    body: str = ""

    @classmethod
    def of(cls, booking: Booking, *, epoch: int) -> Self:
        """The entry for a booking that was read elsewhere."""
        return cls(
            id=str(booking.id),
            epoch=epoch,
            event_id=str(booking.event_id),
            user_id=str(booking.user_id),
            quantity=booking.quantity,
            status=booking.status,
            version=booking.version,
            created_ms=to_ms(booking.created_at),
            cancelled_ms=to_ms(booking.cancelled_at) if booking.cancelled_at else 0,
            reason=booking.reason or "",
            claims=booking.known_claims,
            fingerprint=booking.fingerprint or "",
            due_ms=to_ms(booking.due_at) if booking.due_at else 0,
            taken_ms=to_ms(booking.taken_at) if booking.taken_at else 0,
            body=booking.body or "",
        )

    @property
    def recorded(self) -> bool:
        """Whether the record exists."""
        return self.epoch != NO_EPOCH

    @property
    def booking(self) -> Booking:
        """The booking. The record must exist."""
        return Booking(
            id=UUID(self.id),
            event_id=UUID(self.event_id),
            user_id=UUID(self.user_id),
            quantity=self.quantity,
            status=self.status,
            version=self.version,
            created_at=from_ms(self.created_ms),
            cancelled_at=from_ms(self.cancelled_ms) if self.cancelled_ms else None,
            reason=self.reason or None,
            claims=self.claims,
            fingerprint=self.fingerprint or None,
            due_at=from_ms(self.due_ms) if self.due_ms else None,
            taken_at=from_ms(self.taken_ms) if self.taken_ms else None,
            body=self.body or None,
        )


class Written(Struct, frozen=True, gc=False):
    """A booking as PostgreSQL has it after a write; `confirmed_ms` is 0 when it never was confirmed."""

    id: str
    status: BookingStatus
    version: int
    confirmed_ms: int


class Settlement(Struct, frozen=True, gc=False):
    """A booking as it was read from Redis, and as PostgreSQL has it after the write."""

    read: Unpersisted
    written: Written
