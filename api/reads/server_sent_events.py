"""Streams of server-sent events (HTML, 9.2): their form, their end, and how readers reconnect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from litestar import Response

from api.http.bodies import JSON_MEDIA_TYPE
from api.http.conditional import preferred, say_varies
from api.http.headers import field
from api.http.problems import refusal_response
from api.http.server_scope import STOPPED

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from litestar.types import Scope

    from domain.kernel.refusals import Refusal

Value = TypeVar("Value")

STREAM_MEDIA_TYPE = "text/event-stream"

STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
"""Neither a cache nor a proxy may keep a stream back."""

HEARTBEAT_S = 10.0
"""Seconds of silence after which a comment is sent, so that no proxy gives up."""

HEARTBEAT = b": still there\n\n"

STREAM_S_MAX = 300.0
"""A stream ends after five minutes. An EventSource then reconnects by itself, with `Last-Event-ID`."""

RETRY_S = 1
"""Seconds after which a reader reconnects when its stream has ended."""

LAST_EVENT_ID = "Last-Event-ID"


def prefers_stream(scope: Scope) -> bool:
    """Whether the caller asks for a stream instead of JSON."""
    return preferred(scope, JSON_MEDIA_TYPE, STREAM_MEDIA_TYPE) == STREAM_MEDIA_TYPE


def message(event: str, event_id: str, data: bytes) -> bytes:
    """One event. `data` is JSON on one line."""
    return b"event: %b\nid: %b\ndata: %b\n\n" % (event.encode(), event_id.encode(), data)


def retry(seconds: int) -> bytes:
    """When to reconnect."""
    return b"retry: %d\n\n" % (seconds * 1000)


RETRY = retry(RETRY_S)


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
    content = retry(seconds if isinstance(seconds, int) else RETRY_S)
    return Response(content, status_code=200, headers=headers, media_type=STREAM_MEDIA_TYPE)


async def unless_stopped(
    scope: Scope, waiting: Coroutine[Any, Any, Value] | asyncio.Future[Value], *, seconds: float | None = None
) -> Value | None:
    """The result of a wait; None if the request should not wait any longer, or after so many seconds."""
    stopped: Callable[[], asyncio.Future[None]] | None = scope.get(STOPPED)  # type: ignore[assignment]
    wait = asyncio.ensure_future(waiting)
    try:
        ends: list[asyncio.Future[Any]] = [wait, stopped()] if stopped else [wait]
        await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return wait.result() if wait.done() else None
    finally:
        wait.cancel()


def is_stopped(scope: Scope) -> bool:
    """Whether the request should not wait any longer, because its caller left or the server ends."""
    stopped: Callable[[], asyncio.Future[None]] | None = scope.get(STOPPED)  # type: ignore[assignment]
    return stopped is not None and stopped().done()
