"""The outermost middleware, for every answer: request id, time, security fields, CORS, HEAD, metrics."""

from __future__ import annotations

import itertools
import os
import re
import time
from typing import TYPE_CHECKING, Any

import structlog
from litestar.enums import ScopeType

from api.http.metrics import NO_ROUTE, requests
from api.http.problems import PROBLEM_MEDIA_TYPE, problem_content
from api.http.server_scope import WHOLE_SERVER, WRITE_WHOLE
from api.http.server_time import onsale_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.types import ASGIApp, Message, Receive, Send

    from api.http.cors import Cors
    from api.http.headers import Field

log = structlog.get_logger()

HEALTH_PREFIX = "/health/"
"""Monitoring addresses a process by its IP address, so these paths are served under any host name."""

SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
"""Ids of callers that may be used in our logs and answers."""

_THIS_PROCESS = os.urandom(12).hex().encode()
_numbers = itertools.count()
"""Our ids consist of a random part for each process and a number: unique, without randomness for each request."""

_PORT = re.compile(rb":\d+$")

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
]
CSP = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For answers that are not pages: nothing in them may run."""

NO_STORE = (b"cache-control", b"no-store")
"""The default: most answers are about one caller at one moment."""

_LINES = b"".join(b"%b: %b\r\n" % field for field in (*SECURITY_HEADERS, CSP))
"""Security fields as they are written, put together once."""

HSTS = (b"strict-transport-security", b"max-age=31536000")


class Envelope:
    """ASGI middleware: leaves the request id at `scope["request_id"]`, the answer at `scope["reply"]`."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        cors: Cors,
        methods: bytes,
        hosts: tuple[str, ...] = (),
        logs_requests: bool = False,
    ) -> None:
        self.app = app
        self._cors = cors
        self._methods = methods
        self._logs_requests = logs_requests
        self._hosts = frozenset(host.lower().encode() for host in hosts)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: ANN401  (gets keys of ours)
        """Serve one request, or the lifespan."""
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        bodiless = scope["method"] == "HEAD"
        if bodiless:
            # A copy: the server counts the body's bytes by the original method.
            scope = {**scope, "method": "GET"}
        reply = Reply(scope, send, bodiless=bodiless, logged=self._logs_requests)
        if self._hosts and _host(scope) not in self._hosts and not scope["path"].startswith(HEALTH_PREFIX):
            await reply.refuse(400)
            return
        reply.fields += self._cors.fields(scope)
        if scope["method"] == "OPTIONS" and (answer := self._options(scope)):
            await reply.whole(204, [*answer, NO_STORE], b"")
            return
        scope["reply"] = reply
        try:
            await self.app(scope, receive, reply.send)
        except Exception:
            log.exception("request_failed", request_id=scope["request_id"])
            await reply.refuse(500)
        finally:
            # They refer to each other. Without this, the garbage collector would have to find them.
            del scope["reply"]

    def _options(self, scope: dict[str, Any]) -> list[Field]:
        """The answer to a preflight and to `OPTIONS *`; empty for OPTIONS of a path."""
        return [(b"allow", self._methods)] if WHOLE_SERVER in scope else self._cors.preflight(scope)


class Reply:
    """The answer to one request. Code that answers may add to its header `fields`."""

    def __init__(self, scope: dict[str, Any], send: Send, *, bodiless: bool, logged: bool) -> None:
        self._scope = scope
        self._send = send
        self._write: Callable[..., bool] | None = scope.pop(WRITE_WHOLE, None)
        self._began_s = time.perf_counter()
        self._bodiless = bodiless
        self._logged = logged
        self._started = False
        request_id = _request_id(scope)
        self.request_id = scope["request_id"] = request_id.decode()
        self.fields: list[Field] = [(b"x-request-id", request_id)]
        if scope.get("scheme") == "https":
            self.fields.append(HSTS)

    async def send(self, message: Message) -> None:
        """Pass a message on, with the header fields of every answer."""
        if message["type"] == "http.response.start":
            self._started = True
            self._count(message["status"])
            headers = [*message["headers"], *self.fields, onsale_time(), *SECURITY_HEADERS]
            names = {name for name, _ in headers}
            headers += [default for default in (NO_STORE, CSP) if default[0] not in names]
            message["headers"] = headers
        elif self._bodiless and message["type"] == "http.response.body":
            message["body"] = b""
        await self._send(message)

    async def whole(self, status: int, fields: list[Field], content: bytes) -> None:
        """Send an answer that is not a page and has its own `Cache-Control`; in one write, if the server can."""
        self._started = True
        self._count(status)
        headers = [*fields, *self.fields, onsale_time()]
        if self._write and not self._bodiless and self._write(status, headers, _LINES, content):
            return
        headers += [*SECURITY_HEADERS, CSP]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        body = b"" if self._bodiless else content
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    def _count(self, status: int) -> None:
        method, route = self._scope["method"], self._scope.get("path_template", NO_ROUTE)
        seconds = time.perf_counter() - self._began_s
        requests.count(method=method, route=route, status=status, seconds=seconds)
        if self._logged:
            # The route, not the path: paths and queries may contain personal data.
            log.info(
                "request",
                request_id=self.request_id,
                method=method,
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                account=_account(self._scope),
            )

    async def refuse(self, status: int) -> None:
        """Answer with a problem of this status, unless an answer has begun."""
        if self._started:
            return
        body = problem_content(status, request_id=self.request_id)
        fields = [(b"content-type", PROBLEM_MEDIA_TYPE.encode()), (b"content-length", b"%d" % len(body)), NO_STORE]
        await self.whole(status, fields, body)


def _account(scope: dict[str, Any]) -> str | None:
    """The account of the token, None without one."""
    token = scope.get("user")
    return str(token.account_id) if token else None


def _host(scope: dict[str, Any]) -> bytes | None:
    """The requested host without its port."""
    host = next((value for name, value in scope["headers"] if name == b"host"), None)
    return host and _PORT.sub(b"", host.lower())


def _request_id(scope: dict[str, Any]) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and SANE_REQUEST_ID.fullmatch(value):
            return bytes(value)
    return b"%s%08x" % (_THIS_PROCESS, next(_numbers))
