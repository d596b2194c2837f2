"""The fast lane: routes that everybody calls at once are answered at the door, without the framework's machinery.

A framework's request, parameters, dependencies and response cost more than a booking does. A route in the lane
declares a function of its own, `access(…, lane=Lane(…))`. Token, session, limit, role and body are checked as on
every route; the route's handler is what the documentation is made of, and answers what the lane leaves to it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import msgspec
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import Struct

from api.http.bodies import BODY_BYTES_MAX, JSON_MEDIA_TYPE, check_media_type
from api.http.headers import Field, field
from api.http.middleware import NO_STORE
from api.http.problems import CALLER_LEFT, PROBLEM_MEDIA_TYPE, MalformedBody, refused
from domain.kernel.refusals import Refusal
from domain.store.redis.scripts import Answered, Command

if TYPE_CHECKING:
    from uuid import UUID

    from litestar.types import Receive, Scope

    from api.context import Process
    from domain.accounts.tokens import Token


@dataclass(slots=True)
class Call:
    """A request of somebody who may make it.

    `order` is what its body says and `key` its idempotency key, where the lane takes a body. `plan` is what the lane
    keeps of what it said `ahead`, and `answered` what Redis answered to that, if it was asked.
    """

    process: Process
    scope: Scope
    caller: Token
    order: Any = None
    key: str | None = None
    plan: Any = None
    answered: Answered | None = None

    def id_in_path(self, name: str) -> UUID:
        """An id that stands in the path."""
        return cast("UUID", self.scope["path_params"][name])


class Answer(Struct, frozen=True, gc=False):
    """What is answered: header fields with names in lower case, `cache-control` among them, and the content."""

    status: int
    fields: list[Field]
    content: bytes = b""

    @classmethod
    def of(cls, status: int, shown: Struct, fields: list[Field]) -> Answer:
        """An answer that shows something as JSON."""
        return cls(status, fields + _described(content := _ENCODER.encode(shown), _JSON), content)

    def replaced_by(self, status: int, media_type: bytes, content: bytes) -> Answer:
        """An answer with other content, and what else this one says."""
        kept = [each for each in self.fields if each[0] not in {b"content-type", b"content-length"}]
        return Answer(status, kept + _described(content, media_type), content)


class Lane(Struct, frozen=True, kw_only=True):
    """How a route is answered at the door.

    `answer` answers a call, and raises any Refusal; None leaves the request to the route's handler. `takes` decodes
    the body, if there is to be one, and `keyed` says what an idempotency key stands for that came with it. `ahead`
    says, without asking anybody, what Redis is to do as soon as the caller is admitted; None when it cannot be said.
    """

    answer: Callable[[Call], Awaitable[Answer | None]]
    ahead: Callable[[Call], Command | None]
    takes: Callable[[bytes], Any] | None = None
    keyed: Callable[[Any], str] | None = None


_ENCODER = msgspec.json.Encoder()
_JSON = JSON_MEDIA_TYPE.encode()
_PROBLEM = PROBLEM_MEDIA_TYPE.encode()


def answered_at_the_door() -> Any:  # noqa: ANN401  (what a handler says it returns)
    """The body of a handler that is there for the documentation alone."""
    message = "a lane answers this route"
    raise AssertionError(message)


async def read_order(scope: Scope, receive: Receive, takes: Callable[[bytes], Any]) -> Any | Refusal:  # noqa: ANN401
    """A request's body, or why it is none: that is told when the request has been counted.

    Raises:
        RequestEntityTooLarge, InternalServerException: see read_body.
    """
    body = await read_body(scope, receive)
    try:
        check_media_type(scope)
        if not body:
            detail = "A body in JSON is needed."
            raise MalformedBody(detail)
        return takes(body)
    except Refusal as refusal:
        return refusal


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


def refusing(refusal: Refusal, *, request_id: str) -> Answer:
    """The answer that says what a lane raised."""
    status, content, headers = refused(refusal, request_id=request_id)
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Answer(status, [*fields, NO_STORE, *_described(content, _PROBLEM)], content)


def _described(content: bytes, media_type: bytes) -> list[Field]:
    return [(b"content-type", media_type), (b"content-length", b"%d" % len(content))]
