"""A booking's changes as a stream of server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from api.wire import BookingShown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from domain.bookings import Booking
    from domain.box_office import BoxOffice

STREAM_MEDIA_TYPE = "text/event-stream"

HEARTBEAT_S = 10.0
"""Silence after which a comment is sent, so that nobody between us and the reader gives up."""

HEARTBEATS_MAX = 30
"""A stream ends after five minutes; the reader comes back by itself."""


async def changes(box_office: BoxOffice, booking: Booking) -> AsyncIterator[bytes]:
    """The booking now and at each change, until it is final."""
    yield _event(booking)
    for _ in range(HEARTBEATS_MAX):
        if booking.final:
            return
        latest = await box_office.wait_for_change(booking, seconds=HEARTBEAT_S)
        if (latest.version, latest.status) == (booking.version, booking.status):
            yield b": still there\n\n"
        else:
            yield _event(latest)
        booking = latest


def _event(booking: Booking) -> bytes:
    data = msgspec.json.encode(BookingShown.of(booking))
    return b"event: booking\nid: %d\ndata: %s\n\n" % (booking.version, data)
