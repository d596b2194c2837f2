"""A booking's changes as a stream of server-sent events."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Response

from api.http.bodies import JSON_MEDIA_TYPE
from api.http.conditional import booking_etag, preferred, say_varies
from api.http.headers import field
from api.http.problems import refusal_response
from api.http.server_scope import STOPPED
from api.shapes import BookingShown
from domain.kernel.refusals import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from litestar.types import Scope

    from domain.actions.bookings import BoxOffice
    from domain.kernel.bookings import Booking
    from domain.kernel.refusals import Refusal

STREAM_MEDIA_TYPE = "text/event-stream"

HEARTBEAT_S = 10.0
"""Seconds of silence after which a comment is sent, so that no proxy gives up."""

HEARTBEATS_MAX = 30
"""A stream ends after five minutes. An EventSource then reconnects by itself, with `Last-Event-ID`."""

RETRY_S = 1
"""Seconds after which a reader reconnects when its stream has ended."""

LAST_EVENT_ID = "Last-Event-ID"


async def waited_for(scope: Scope, waiting: Coroutine[Any, Any, Booking], *, known: Booking) -> Booking:
    """The result of a wait for a change of a booking; `known` if the request should not wait any longer.

    Also `known` if a server cannot be reached during the wait: the booking exists, whatever happens to the wait.
    """
    try:
        return await _unless_stopped(scope, waiting) or known
    except Unavailable:
        return known


async def changes(scope: Scope, box_office: BoxOffice, booking: Booking) -> AsyncIterator[bytes]:
    """Events with the booking: its current state, unless the reader knows it, then each change until it is final."""
    yield _retry(RETRY_S)
    if not is_known(scope, booking):
        yield _event(booking)
    for _ in range(HEARTBEATS_MAX):
        if booking.final:
            return
        try:
            latest = await _unless_stopped(scope, box_office.wait_for_change(booking, seconds=HEARTBEAT_S))
        except Unavailable:
            return
        if latest is None:
            return
        yield b": still there\n\n" if _event_id(latest) == _event_id(booking) else _event(latest)
        booking = latest


def is_known(scope: Scope, booking: Booking) -> bool:
    """Whether a reader that reconnects has seen the booking in this state."""
    return field(scope, b"last-event-id") == _event_id(booking)


def prefers_stream(scope: Scope) -> bool:
    """Whether the caller asks for a stream instead of JSON."""
    return preferred(scope, JSON_MEDIA_TYPE, STREAM_MEDIA_TYPE) == STREAM_MEDIA_TYPE


def stream_to_retry(scope: Scope, refusal: Refusal) -> Response[bytes]:
    """A refusal in the form of a stream that only says when to reconnect, for a reader that reconnects.

    An EventSource gives up for good when it is answered 429 or 503.

    Raises:
        Refusal: the refusal itself, if the caller is no such reader.
    """
    if field(scope, b"last-event-id") is None or not prefers_stream(scope):
        raise refusal
    say_varies(scope, b"Accept")
    headers = refusal_response(refusal, request_id=scope["request_id"]).headers  # type: ignore[typeddict-item]
    seconds = refusal.facts.get("retry_after_seconds", RETRY_S)
    content = _retry(seconds if isinstance(seconds, int) else RETRY_S)
    return Response(content, status_code=200, headers=headers, media_type=STREAM_MEDIA_TYPE)


async def _unless_stopped(scope: Scope, waiting: Coroutine[Any, Any, Booking]) -> Booking | None:
    """The result of a wait, None if the request should not wait any longer; raises Unavailable."""
    stopped: Callable[[], asyncio.Future[None]] | None = scope.get(STOPPED)  # type: ignore[assignment]
    wait = asyncio.ensure_future(waiting)
    try:
        ends: list[asyncio.Future[Any]] = [wait, stopped()] if stopped else [wait]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        return wait.result() if wait.done() else None
    finally:
        wait.cancel()


def _event_id(booking: Booking) -> str:
    """An id that differs for each state of a booking."""
    return booking_etag(booking).strip('"')


def _event(booking: Booking) -> bytes:
    data = msgspec.json.encode(BookingShown.of(booking))
    return b"event: booking\nid: %b\ndata: %b\n\n" % (_event_id(booking).encode(), data)


def _retry(seconds: int) -> bytes:
    return b"retry: %d\n\n" % (seconds * 1000)
