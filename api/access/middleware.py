"""Authentication, rate limits, roles and query parameters of the routes that the framework's router serves.

Session and limit are one call to Redis, so they are one middleware. The fast path makes that call together with the
engine's (`api/fast_path.py`).

A request with a refused body uses up the default limit and not that of its route. So a caller that mistypes a form may
send it again, but nobody may send refused bodies without end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import structs

from api.access.authentication import read_token, token_text
from api.access.declarations import DEFAULT, OPTIONS_ACCESS, UNLIMITED, Access, declared_access
from api.access.guards import refusal_of_role
from api.context import STATE
from api.http.bodies import JsonBody, read_body
from api.http.options import answer_options
from api.http.queries import refused_query
from domain.kernel.refusals import Refusal, Unauthenticated
from domain.store.redis.admission import UNCOUNTED, Admitted, Ask

if TYPE_CHECKING:
    from litestar.exceptions import HTTPException
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from api.context import Process
    from api.http.middleware import Reply
    from domain.accounts.tokens import Token


class AccessMiddleware:
    """ASGI middleware: leaves the caller's token at `scope["user"]` and its text at `scope["auth"]`.

    Both are None on a route for anyone, if no usable token was sent.

    Raises, to be answered as problems: Unauthenticated, Forbidden, RateLimited, Invalid, Unavailable.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit the request, check its role and the names in its query, and pass it on; or raise."""
        if scope["type"] == ScopeType.HTTP:
            declared = declared_access(scope["route_handler"]) or OPTIONS_ACCESS
            scope["user"] = scope["auth"] = None
            if declared.limit != UNLIMITED:
                receive = await _RequestAdmission(scope, declared).admit(receive)
            if scope["method"] == "OPTIONS":
                await answer_options(scope, send)
                return
            # Here and not in guards: for each call of a guard the framework copies the route's handler.
            if refusal := refusal_of_role(declared, scope["user"]) or refused_query(scope):
                raise refusal
        await self.app(scope, receive, send)


class _RequestAdmission:
    """The admission of one request."""

    def __init__(self, scope: HTTPScope, declared: Access) -> None:
        self._declared = declared
        self._scope = scope
        self._reply: Reply = scope["reply"]  # type: ignore[typeddict-item]  # set by the outermost middleware
        self._process: Process = scope["litestar_app"].state[STATE]

    async def admit(self, receive: Receive) -> Receive:
        """Admit by account if the route needs one or a token was sent, else by address; some routes always by address.

        If the route has a limit of its own, its body is decoded first.

        Returns:
            The `receive` for the route's handler.
        """
        fault: Refusal | HTTPException | None = None
        handler = self._scope["route_handler"]
        if {self._declared.limit, self._declared.limit_address} - {DEFAULT, None} and JsonBody.takes_body(handler):
            if self._declared.roles:
                self._token()
            try:
                body = await read_body(self._scope, receive)
                receive = _from_the_start(body, receive)
                JsonBody.decode_early(handler, self._scope, body)
            except (Refusal, RequestEntityTooLarge) as error:
                fault = error
                self._declared = structs.replace(self._declared, limit=DEFAULT, limit_address=None)
        tell_limit(self._reply, await self._admitted())
        if fault:
            raise refusal_of_role(self._declared, self._scope["user"]) or fault
        return receive

    async def _admitted(self) -> Admitted:
        declared = self._declared
        if declared.roles:
            return await self._by_account()
        if declared.limit_address:
            return await self._by_address(declared.limit_address)
        try:
            return await self._by_account()
        except Unauthenticated:
            return await self._by_address(declared.limit)

    async def _by_account(self) -> Admitted:
        token, declared = self._token(), self._declared
        if declared.limit_address:
            await self._by_address(declared.limit_address)
        subject = token.session_id.hex if declared.per_session else ""
        ask = Ask.by(token, self._process.rule(declared.limit), subject=subject)
        await self._process.stores.admission.admit(ask)
        self._scope["user"], self._scope["auth"] = token, token_text(self._scope, declared.token)
        return ask.admitted or UNCOUNTED

    async def _by_address(self, limit: str) -> Admitted:
        rule = self._process.rule(limit)
        if rule is None:
            return UNCOUNTED
        return await self._process.stores.admission.admit_address(self._process.proxies.client_of(self._scope), rule)

    def _token(self) -> Token:
        return read_token(self._scope, self._process, self._declared)


def tell_limit(reply: Reply, admitted: Admitted) -> None:
    """Say in the answer what remains of the limit (draft-ietf-httpapi-ratelimit-headers)."""
    rule = admitted.rule
    if rule is not None:
        remaining = f'"{rule.name}";r={admitted.remaining};t={admitted.reset_s}'
        reply.fields += ((b"ratelimit-policy", rule.policy), (b"ratelimit", remaining.encode()))


def _from_the_start(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read already, and then what follows it."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:  # noqa: ANN401  (ASGI's messages)
        return unread.pop() if unread else await receive()

    return again
