"""A booking's changes as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from api.wire import BookingShown
from domain.refusals import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from litestar.types import Scope

    from domain.bookings import Booking
    from domain.box_office import BoxOffice

STOPPED = "stopped"
"""Where in a request's scope a server of ours leaves a function that gives a future: done once the request should not
wait for a change any longer, because its caller stopped sending or the server ends (api.protocol)."""

STREAM_MEDIA_TYPE = "text/event-stream"

HEARTBEAT_S = 10.0
"""Silence after which a comment is sent, so that nobody between us and the reader gives up."""

HEARTBEATS_MAX = 30
"""A stream ends after five minutes; the reader comes back by itself."""


async def waited_for(scope: Scope, waiting: Coroutine[Any, Any, Booking], *, known: Booking) -> Booking:
    """What the wait for a change of a booking answers; `known` when the request should not wait any longer.

    Also `known` when a server is away meanwhile: the booking was made, or shown, whatever becomes of the wait.
    """
    stopped = scope.get(STOPPED)
    wait = asyncio.ensure_future(waiting)
    try:
        await asyncio.wait([wait, stopped()] if stopped else [wait], return_when=asyncio.FIRST_COMPLETED)  # type: ignore[operator]
        return wait.result() if wait.done() else known
    except Unavailable:
        return known
    finally:
        wait.cancel()


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
