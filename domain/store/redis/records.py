"""Records of bookings in Redis: how they are read, and how long they are kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from uuid import UUID

from msgspec import convert, structs

from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.times import from_ms, to_ms
from domain.store.redis.keys import record_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from domain.store.redis.pipeline import Pipeline

RETIRE_MS = 120_000
"""How long a settled record is kept for polls; after that only PostgreSQL has the booking."""

RECORD_FIELDS = (
    b"event",
    b"user",
    b"quantity",
    b"status",
    b"version",
    b"created_ms",
    b"confirmed_ms",
    b"cancelled_ms",
    b"reason",
    b"due_ms",
    b"body",
)
"""The fields of a record, in the order in which read_booking.lua answers them after the epoch.

Polls do not need the claims and the fingerprint, which are read with the whole record.
"""

_STATUSES = {status.encode(): status for status in BookingStatus}


async def read_records(pipeline: Pipeline, booking_ids: Sequence[UUID]) -> list[Booking]:
    """The bookings of `booking_ids` that have a record, of any epoch."""
    pipe = pipeline.redis.pipeline(transaction=False)
    for booking_id in booking_ids:
        pipe.execute_command("HGETALL", record_key(booking_id))
    records = await pipeline.execute(pipe) if booking_ids else []
    return [read_fields(booking_id, record) for booking_id, record in zip(booking_ids, records, strict=True) if record]


def read_record(booking_id: UUID, flat: list[bytes]) -> Booking:
    """Decode a record that a script returns as a flat list of fields and values."""
    return read_fields(booking_id, dict(zip(flat[::2], flat[1::2], strict=True)))


def read_fields(booking_id: UUID, record: dict[bytes, bytes]) -> Booking:
    """Decode a record given as a dict of fields."""
    booking = read_values(booking_id, [record.get(field) for field in RECORD_FIELDS])
    printed, taken_ms = record.get(b"fingerprint"), record.get(b"taken_ms")
    return structs.replace(
        booking,
        claims=record[b"claims"].decode(),
        fingerprint=printed.decode() if printed else None,
        taken_at=from_ms(int(taken_ms)) if taken_ms else None,
    )


def read_values(booking_id: UUID, values: Sequence[bytes | None]) -> Booking:
    """Decode a record given as the values of RECORD_FIELDS; the last five may be None."""
    event, user, quantity, status, version, created_ms = cast("list[bytes]", values[:6])
    confirmed_ms, cancelled_ms, reason, due_ms, body = values[6:]
    return Booking(
        id=booking_id,
        event_id=convert(event.decode(), UUID),
        user_id=convert(user.decode(), UUID),
        quantity=int(quantity),
        status=_STATUSES[status],
        version=int(version),
        created_at=from_ms(int(created_ms)),
        confirmed_at=from_ms(int(confirmed_ms)) if confirmed_ms else None,
        cancelled_at=from_ms(int(cancelled_ms)) if cancelled_ms else None,
        reason=reason.decode() if reason else None,
        due_at=from_ms(int(due_ms)) if due_ms else None,
        body=body.decode() if body else None,
    )


def record_fields(booking: Booking) -> list[str | int]:
    """Alternating names and values of a booking's record, without its epoch."""
    fields: dict[str, str | int | None] = {
        "event": str(booking.event_id),
        "user": str(booking.user_id),
        "quantity": booking.quantity,
        "status": booking.status,
        "version": booking.version,
        "created_ms": to_ms(booking.created_at),
        "claims": booking.known_claims,
        "confirmed_ms": _ms(booking.confirmed_at),
        "cancelled_ms": _ms(booking.cancelled_at),
        "reason": booking.reason,
        "fingerprint": booking.fingerprint,
        "due_ms": _ms(booking.due_at),
        "taken_ms": _ms(booking.taken_at),
        "body": booking.body,
    }
    return [part for name, value in fields.items() if value is not None for part in (name, value)]


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)


def hold_fields(hold: Booking) -> tuple[str, int, list[str]]:
    """A hold for refill_holds.lua: its id, its deadline, and the fields of its record."""
    return str(hold.id), deadline_ms(hold), [str(field) for field in record_fields(hold)]


def deadline_ms(booking: Booking) -> int:
    """The deadline of a hold; 0 for another booking."""
    return to_ms(booking.due_at) if booking.status is BookingStatus.HELD and booking.due_at else 0
