"""The fast lane: routes that everybody calls at once are answered at the door, without the framework's machinery.

A framework's request, parameters, dependencies and response cost more than a booking does. A route in the lane
declares a function of its own, `access(…, lane=…)`. Token, session, limit, role and body are checked as on every
route; the route's handler is what the documentation is made of, and answers what the lane leaves to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import Struct

from api.bodies import BODY_BYTES_MAX, JSON_MEDIA_TYPE, check_media_type
from api.fields import field
from api.problems import CALLER_LEFT, PROBLEM_MEDIA_TYPE, MalformedBody, refused

if TYPE_CHECKING:
    from uuid import UUID

    from litestar.types import Receive, Scope, Send

    from api.process import Process
    from domain.refusals import Refusal
    from domain.tokens import Token


@dataclass(slots=True)
class Call:
    """A request of somebody who may make it. `key` is its idempotency key; `body` has been read to its end."""

    process: Process
    scope: Scope
    caller: Token
    body: bytes
    key: str | None

    def id_in_path(self, name: str) -> UUID:
        """An id that stands in the path."""
        return cast("UUID", self.scope["path_params"][name])

    def checked_body(self) -> bytes:
        """The body, if it can be JSON; raises UnsupportedMediaType, MalformedBody."""
        check_media_type(field(self.scope, b"content-type"))
        if not self.body:
            detail = "A body in JSON is needed."
            raise MalformedBody(detail)
        return self.body


class Answer(Struct, frozen=True):
    """What is answered: something as JSON, or nothing."""

    status: int
    shown: Struct | None
    headers: dict[str, str]


Lane = Callable[[Call], Awaitable[Answer | None]]
"""Answers a call; None leaves it to the route's handler. Raises any Refusal."""


def answered_at_the_door() -> Any:  # noqa: ANN401  (what a handler says it returns)
    """The body of a handler that is there for the documentation alone."""
    message = "a lane answers this route"
    raise AssertionError(message)


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """A request's body, to its end.

    Raises:
        RequestEntityTooLarge: before the rest is waited for.
        InternalServerException: the caller left.
    """
    announced = field(scope, b"content-length")
    if announced and announced.isdecimal() and int(announced) > BODY_BYTES_MAX:
        raise RequestEntityTooLarge
    body = b""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise InternalServerException(CALLER_LEFT)
        body += cast("bytes", message["body"])
        if len(body) > BODY_BYTES_MAX:
            raise RequestEntityTooLarge
        if not message["more_body"]:
            return body


async def answer(send: Send, answered: Answer) -> None:
    """Send what a lane answered."""
    if answered.shown is None:
        await _send(send, answered.status, b"", None, answered.headers)
    else:
        await _send(send, answered.status, msgspec.json.encode(answered.shown), JSON_MEDIA_TYPE, answered.headers)


async def refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Send what a lane raised."""
    status, body, headers = refused(refusal, request_id=scope["request_id"])  # type: ignore[typeddict-item]  # the envelope's
    await _send(send, status, body, PROBLEM_MEDIA_TYPE, headers)


async def _send(send: Send, status: int, body: bytes, media_type: str | None, headers: dict[str, str]) -> None:
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    if media_type:
        fields += [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body, "more_body": False})
