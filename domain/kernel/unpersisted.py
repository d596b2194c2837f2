"""What is on its way from Redis to PostgreSQL: a booking's newest version, as a batch carries it."""

from __future__ import annotations

from typing import Self
from uuid import UUID

from msgspec import Struct

from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.times import from_ms, to_ms

NO_EPOCH = 0
"""Below any epoch: what an entry is of whose record is gone."""


class Unpersisted(Struct, frozen=True, array_like=True, gc=False):
    """One entry of an unpersisted set with its record, read and written five hundred at a time.

    So ids are text and moments milliseconds, as Redis has them and PostgreSQL takes them; nothing in between
    needs more. 0 and '' stand for what is not there; when the record is gone, only `id` is known.
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

    @classmethod
    def of(cls, booking: Booking, *, epoch: int) -> Self:
        """A booking that is known from elsewhere."""
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
        )

    @property
    def recorded(self) -> bool:
        """Whether its record is there."""
        return self.epoch != NO_EPOCH

    @property
    def booking(self) -> Booking:
        """The booking, of an entry whose record is there."""
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
        )


class Written(Struct, frozen=True, gc=False):
    """A booking as PostgreSQL has it after a write; `confirmed_ms` is 0 when it never was confirmed."""

    id: str
    status: BookingStatus
    version: int
    confirmed_ms: int


class Settlement(Struct, frozen=True, gc=False):
    """A booking as it was read, and as PostgreSQL has it since."""

    read: Unpersisted
    written: Written
