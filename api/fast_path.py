"""The fast path: the routes that take the load of an on-sale, served before the framework's router.

The framework's routing, parameter parsing and response cost more than a booking does. A route whose handler declares
`request_class=FastRequest` is served here and nowhere else. It is in the framework's route table only for the OpenAPI
document and for the methods of its path. The differences to other routes:

- The handler takes a `FastRequest`. At most one parameter of its path, an id, and its body are parsed for it.
- The handler makes the first call to the engine with `request.ask`. That call also admits the request, so admission
  costs no round trip of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

import msgspec
from litestar import Request, Response
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.response import Stream
from litestar.response.streaming import ASGIStreamingResponse
from litestar.routes import HTTPRoute

from api.access.authentication import read_token
from api.access.declarations import DEFAULT, UNLIMITED, Access, Undeclared, declared_access
from api.access.guards import refusal_of_role
from api.access.middleware import tell_limit
from api.context import STATE, Process
from api.http.bodies import JSON_MEDIA_TYPE, JsonBody, decode_body, read_body
from api.http.headers import IDEMPOTENCY_KEY, idempotency_key
from api.http.middleware import NO_STORE
from api.http.problems import problem, refusal_response, status_of_exception
from api.http.queries import refused_parameters
from domain.accounts.tokens import Token
from domain.kernel.refusals import Refusal
from domain.store.redis.admission import Ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from litestar import Litestar
    from litestar.handlers import HTTPRouteHandler
    from litestar.types import HTTPScope, Receive, Scope, Send

    from api.http.middleware import Reply

Shown = TypeVar("Shown")

NO_PARAMETERS: frozenset[str] = frozenset()
"""Fast routes take no query parameters."""

_ENCODER = msgspec.json.Encoder()
_CONTENT_TYPES = {None: JSON_MEDIA_TYPE.encode()}
"""Encoded content types by media type; there are only a few."""


class NotAdmitted(Exception):
    """A handler of the fast path answered without a call to the engine that admits the request."""


class RefusedWith(Exception):
    """A handler refuses the request with this response instead of a problem. As any refusal, it needs no admission."""

    def __init__(self, response: Response[Any]) -> None:
        super().__init__()
        self.response = response


class FastRequest(Request[Token, str, Any]):
    """A request of the fast path. A handler is served here if it declares this `request_class`.

    Only the attributes that are set here exist; those of the framework's class are not set. `ask` is admitted by the
    first call to the engine that is made with it.
    """

    __slots__ = ("ask", "caller", "idempotency_key", "process")

    def __init__(
        self, process: Process, scope: HTTPScope, caller: Token, ask: Ask, idempotency_key: str | None
    ) -> None:
        self.process = process
        self.scope = scope
        self.caller = caller
        self.ask = ask
        self.idempotency_key = idempotency_key


class FastResponse(Response[Shown]):
    """A response of the fast path, made in a tenth of the time. Names of header fields are in lower case.

    As with `FastRequest`, only the attributes that are set here exist.
    """

    def __init__(self, content: Shown, *, status_code: int, headers: dict[str, str]) -> None:
        self.content = content
        self.status_code = status_code
        self.headers = headers
        self.media_type = None


class FastRoute:
    """A route of the fast path: what its handler declares, and how its requests are found and read.

    Raises:
        Undeclared: the route is not for accounts alone, or has a limit that the fast path does not count.
    """

    def __init__(self, route: HTTPRoute, handler: HTTPRouteHandler, access: Access) -> None:
        if not access.roles or access.limit_address or access.per_session or access.limit == UNLIMITED:
            message = f"{route.path}: the fast path serves accounts, each counted by one limit"
            raise Undeclared(message)
        self.template = route.path_format
        self.access = access
        self.handle: Callable[..., Awaitable[Response[Any]]] = handler.fn
        self.decoder = JsonBody.decoder_of(handler)
        self.reads_key = IDEMPOTENCY_KEY in access.reads
        before, _, rest = route.path_format.partition("{")
        self._parameter, _, after = rest.partition("}")
        pattern = f"{_spelled(before)}{'([^/]+)' if rest else ''}{_spelled(after)}/*"
        self._pattern = re.compile(pattern)

    def parameters(self, path: str) -> dict[str, Any] | None:
        """The parameters in a path; None when the path is not one of this route.

        Additional slashes and every spelling of a UUID are accepted, as by the framework's router.
        """
        found = self._pattern.fullmatch(path)
        if found is None:
            return None
        if not self._parameter:
            return {}
        try:
            return {self._parameter: _uuid(found[1])}
        except ValueError:
            return None

    async def read(
        self, scope: Scope, receive: Receive, parameters: dict[str, Any]
    ) -> tuple[Refusal | RequestEntityTooLarge | None, str | None]:
        """Put the decoded body into `parameters`; returns the fault of the request, and its idempotency key.

        Raises:
            InternalServerException: the caller left.
        """
        key, fault = None, refused_parameters(scope, NO_PARAMETERS)
        try:
            key = idempotency_key(scope) if self.reads_key else None
            if self.decoder is not None:
                parameters["data"] = decode_body(scope, await read_body(scope, receive), self.decoder)
        except (Refusal, RequestEntityTooLarge) as error:
            return error, key
        return fault, key


class FastPath:
    """ASGI: serves the routes of the fast path, and passes all other requests on."""

    def __init__(self, app: Litestar) -> None:
        self.app = app
        self._routes: dict[str, list[FastRoute]] = {}
        for method, route in _fast_routes(app):
            self._routes.setdefault(method, []).append(route)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  (gets keys of ours)
        """Serve one request, or the lifespan."""
        if scope["type"] == ScopeType.HTTP:
            path = scope["path"]
            for route in self._routes.get(scope["method"], ()):
                parameters = route.parameters(path)
                if parameters is not None:
                    await self._serve(route, parameters, scope, receive)
                    return
        await self.app(scope, receive, send)

    async def _serve(self, route: FastRoute, parameters: dict[str, Any], scope: Any, receive: Receive) -> None:  # noqa: ANN401  (as above)
        """Answer a request of a route.

        The order of the checks: token, body, session and limit, role, and then the fault of the request.
        """
        scope["path_template"], scope["litestar_app"], scope["user"] = route.template, self.app, None
        process, reply, ask = self.app.state[STATE], scope["reply"], None
        try:
            token = read_token(scope, process, route.access)
            fault, key = await route.read(scope, receive, parameters)
            ask = Ask(token.account_id, token, process.rule(DEFAULT if fault else route.access.limit))
            if refusal := refusal_of_role(route.access, token) or fault:
                await process.stores.admission.admit(ask)
                raise refusal
            response = await route.handle(request=FastRequest(process, scope, token, ask, key), **parameters)
            if ask.admitted is None:
                raise NotAdmitted(route.template)
        except Refusal as refusal:
            response = refusal_response(refusal, request_id=reply.request_id)
        except RefusedWith as refused:
            response = refused.response
        except HTTPException as error:
            response = problem(status_of_exception(error), request_id=reply.request_id)
        if ask is not None and ask.admitted is not None:
            scope["user"] = token
            tell_limit(reply, ask.admitted)
        await _send(response, reply, scope, receive)


async def _send(response: Response[Any], reply: Reply, scope: Scope, receive: Receive) -> None:
    """Write a response; in one piece, unless it is a stream."""
    if isinstance(response, Stream):
        streaming = ASGIStreamingResponse(
            iterator=cast("AsyncIterator[bytes]", response.iterator),
            headers=response.headers,
            media_type=response.media_type,
        )
        await streaming(scope, receive, reply.send)
        return
    headers, content = response.headers, response.content
    fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    if "cache-control" not in headers:
        fields.append(NO_STORE)
    body = b""
    if content is not None:
        body = content if isinstance(content, bytes) else _ENCODER.encode(content)
        fields += ((b"content-type", _content_type(response.media_type)), (b"content-length", b"%d" % len(body)))
    await reply.whole(response.status_code or 200, fields, body)


def _content_type(media_type: Any) -> bytes:  # noqa: ANN401  (the framework's types)
    known = _CONTENT_TYPES.get(media_type)
    if known is None:
        known = _CONTENT_TYPES[media_type] = str(media_type).encode()
    return known


def _uuid(text: str) -> UUID:
    """Parse a UUID; raises ValueError."""
    try:
        return msgspec.convert(text, UUID)
    except msgspec.ValidationError:
        # This class accepts more spellings, and takes ten times as long.
        return UUID(text)


def _spelled(path: str) -> str:
    """A pattern for a part of a path, in which each slash may be repeated."""
    return re.escape(path).replace("/", "/+")


def _fast_routes(app: Litestar) -> Iterator[tuple[str, FastRoute]]:
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                declared = declared_access(handler)
                if declared and handler.request_class is FastRequest:
                    yield from ((method, FastRoute(route, handler, declared)) for method in handler.http_methods)
