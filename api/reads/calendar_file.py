"""A booking as a calendar file (iCalendar, RFC 5545). Times are in UTC, so that a reader needs no time zone data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from domain.kernel.bookings import BookingStatus

if TYPE_CHECKING:
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event

CALENDAR_MEDIA_TYPE = "text/calendar"

LINE_BYTES_MAX = 75
"""Longer lines are folded (RFC 5545, 3.1)."""

LASTS = timedelta(hours=2)
"""The length of an event without an end, as it is shown in a calendar."""

STATUSES = {BookingStatus.CONFIRMED: "CONFIRMED", BookingStatus.PENDING: "TENTATIVE", BookingStatus.HELD: "TENTATIVE"}
"""The status in the calendar. Any other booking is `CANCELLED`, which takes the entry out of the calendar."""


def calendar_file(booking: Booking, event: Event, *, now: datetime) -> bytes:
    """The file with the one entry of a booking. A later file of the same booking replaces it (`UID`, `SEQUENCE`)."""
    tickets = "1 ticket" if booking.quantity == 1 else f"{booking.quantity} tickets"
    status = STATUSES.get(booking.status, "CANCELLED")
    if event.cancelled_at is not None:
        status = "CANCELLED"
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Onsale//Bookings//EN",
        "METHOD:PUBLISH",
        "BEGIN:VEVENT",
        f"UID:{booking.id}",
        f"SEQUENCE:{booking.version + event.version}",
        f"DTSTAMP:{_utc(now)}",
        f"DTSTART:{_utc(event.starts_at)}",
        f"DTEND:{_utc(event.ends_at or event.starts_at + LASTS)}",
        f"SUMMARY:{_text(event.title)}",
        f"LOCATION:{_text(event.location)}",
        f"DESCRIPTION:{_text(f'{tickets}. Booking {booking.id}.')}",
        f"STATUS:{status}",
        "TRANSP:OPAQUE",
        "END:VEVENT",
        "END:VCALENDAR",
    ]
    return b"".join(_folded(line) for line in lines)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """A text value (RFC 5545, 3.3.11)."""
    escaped = value.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,")
    return escaped.replace("\r\n", "\\n").replace("\n", "\\n").replace("\r", "\\n")


def _folded(line: str) -> bytes:
    """A line in pieces of at most LINE_BYTES_MAX bytes; no character is cut."""
    pieces, piece = [], b""
    for character in line:
        encoded = character.encode()
        if len(piece) + len(encoded) > LINE_BYTES_MAX:
            pieces.append(piece)
            piece = b" "
        piece += encoded
    return b"\r\n".join([*pieces, piece]) + b"\r\n"
