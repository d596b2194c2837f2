"""A booking's changes as a stream of server-sent events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from api.http.conditional import booking_etag
from api.http.headers import field
from api.reads.server_sent_events import HEARTBEAT, HEARTBEAT_S, RETRY, STREAM_S_MAX, message, unless_stopped
from api.shapes import BookingShown
from domain.kernel.refusals import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from litestar.types import Scope

    from domain.actions.bookings import BoxOffice
    from domain.kernel.bookings import Booking

HEARTBEATS_MAX = int(STREAM_S_MAX / HEARTBEAT_S)


async def waited_for(scope: Scope, waiting: Coroutine[Any, Any, Booking], *, known: Booking) -> Booking:
    """The result of a wait for a change of a booking; `known` if the request should not wait any longer.

    Also `known` if a server cannot be reached during the wait: the booking exists, whatever happens to the wait.
    """
    try:
        return await unless_stopped(scope, waiting) or known
    except Unavailable:
        return known


async def changes(scope: Scope, box_office: BoxOffice, booking: Booking) -> AsyncIterator[bytes]:
    """Events with the booking: its current state, unless the reader knows it, then each change until it is final."""
    yield RETRY
    if not is_known(scope, booking):
        yield _event(booking)
    for _ in range(HEARTBEATS_MAX):
        if booking.final:
            return
        try:
            latest = await unless_stopped(scope, box_office.wait_for_change(booking, seconds=HEARTBEAT_S))
        except Unavailable:
            return
        if latest is None:
            return
        yield HEARTBEAT if _event_id(latest) == _event_id(booking) else _event(latest)
        booking = latest


def is_known(scope: Scope, booking: Booking) -> bool:
    """Whether a reader that reconnects has seen the booking in this state."""
    return field(scope, b"last-event-id") == _event_id(booking)


def _event_id(booking: Booking) -> str:
    """An id that differs for each state of a booking."""
    return booking_etag(booking).strip('"')


def _event(booking: Booking) -> bytes:
    return message("booking", _event_id(booking), msgspec.json.encode(BookingShown.of(booking)))
