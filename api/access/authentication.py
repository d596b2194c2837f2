"""The door: before any handler runs, who calls is known, and the call is counted.

One middleware, because each costs time: session and limit are one question to Redis, and what a lane does for whom
that admits goes with it.

A request whose body is refused uses up the default limit and not the one of its route: who mistypes a form may
send it again, and yet nobody may send what is refused without end.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import structs

from api.access.declarations import DEFAULT, OPTIONS_ACCESS, UNLIMITED, Access, declared_access
from api.access.guards import check_role
from api.context import STATE
from api.fast_path import Call, read_body, read_order, refusing
from api.http.bodies import JsonBody
from api.http.conditional import say_varies
from api.http.headers import fields
from api.http.options import answer_options
from api.http.queries import refused_parameters
from api.reads.booking_stream import LAST_EVENT_ID, STREAM_MEDIA_TYPE, told_to_wait
from domain.accounts.tokens import unauthenticated
from domain.kernel.refusals import Invalid, Refusal, Unauthenticated
from domain.store.redis.admission import UNCOUNTED, Admitted, Ask

if TYPE_CHECKING:
    from litestar.exceptions import HTTPException
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from api.context import Process
    from api.fast_path import Answer, Lane
    from api.http.middleware import Reply
    from domain.accounts.tokens import Token
    from domain.store.redis.scripts import Command

KEY_CHARS_MAX = 255
SCHEME = "bearer "

NO_PARAMETERS: frozenset[str] = frozenset()
"""Routes of lanes take none in their query."""

ADMITTED = "admitted"
"""Where in a request's scope it stands that it was admitted, and is left to its handler."""

_VISIBLE = re.compile("[!-~]+")


class Door:
    """ASGI middleware: leaves the caller's token at `scope["user"]` and its text at `scope["auth"]`.

    Both are None on a route for anyone, when none or an unusable one was sent.

    Raises, to be answered as problems: Unauthenticated, RateLimited, Invalid, Unavailable.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit the request, or raise; answer it if its route is in the fast lane."""
        if scope["type"] == ScopeType.HTTP and ADMITTED not in scope:
            visit = Visit(scope, declared_access(scope["route_handler"]) or OPTIONS_ACCESS)
            if visit.declared.lane:
                if await visit.take(visit.declared.lane, receive):
                    return
            elif visit.declared.limit != UNLIMITED:
                receive = await visit.admit(receive)
            if scope["method"] == "OPTIONS":
                await answer_options(scope, send)
                return
        await self.app(scope, receive, send)


class Visit:
    """One request before the door; nobody is known to have sent it yet."""

    def __init__(self, scope: HTTPScope, declared: Access) -> None:
        self.declared = declared
        self._scope = scope
        scope["user"] = scope["auth"] = None
        self._reply: Reply = scope["reply"]  # type: ignore[typeddict-item]  # the envelope's
        self._process: Process = scope["litestar_app"].state[STATE]

    async def answer(self, lane: Lane, receive: Receive) -> Answer | None:
        """What the fast lane answers; None when that leaves the request to its handler."""
        try:
            return await lane.answer(await self._call(lane, receive))
        except Refusal as refusal:
            answer = refusing(refusal, request_id=self._reply.request_id)
            stream = told_to_wait(self._scope, refusal) if LAST_EVENT_ID in self.declared.reads else None
            if stream is None:
                return answer
            say_varies(self._scope, b"Accept")
            return answer.replaced_by(200, STREAM_MEDIA_TYPE.encode(), stream)

    async def take(self, lane: Lane, receive: Receive) -> bool:
        """Answer in the fast lane; False when that leaves the request to its handler."""
        answered = await self.answer(lane, receive)
        if answered is None:
            return False
        await self._reply.whole(answered.status, answered.fields, answered.content)
        return True

    async def _call(self, lane: Lane, receive: Receive) -> Call:
        """The request, admitted and of somebody whose role may make it, with its body."""
        token, declared = self._token(), self.declared
        call = Call(self._process, self._scope, token)
        fault: Refusal | None = refused_parameters(self._scope, NO_PARAMETERS)
        ask = Ask(self._process.rule(declared.limit if fault is None else DEFAULT))
        if lane.takes:
            try:
                call.key = idempotency_key(self._scope)
                call.order = await read_order(self._scope, receive, lane.takes)
                fault = call.order if isinstance(call.order, Refusal) else fault
            except Invalid as refusal:
                fault = refusal
            if fault:
                ask = Ask(self._process.rule(DEFAULT))
            elif call.key and lane.keyed:
                ask = Ask(ask.rule, key=call.key, body=lane.keyed(call.order))
        allowed = fault is None and token.role in declared.roles
        admitted = await self._admit(token, ask, then=lane.ahead(call) if allowed else None)
        self._tell(admitted)
        check_role(declared, token)
        if fault:
            raise fault
        call.answered = admitted.after
        return call

    async def admit(self, receive: Receive) -> Receive:
        """Admit by account where one is needed or told, else by address; some routes always by address.

        Where a route has a limit of its own, its body is judged first: see the module.

        Returns:
            What the route's handler is to receive from.
        """
        fault: Refusal | HTTPException | None = None
        handler = self._scope["route_handler"]
        if {self.declared.limit, self.declared.limit_address} - {DEFAULT, None} and JsonBody.takes_body(handler):
            if self.declared.roles:
                self._token()
            try:
                body = await read_body(self._scope, receive)
                receive = _from_the_start(body, receive)
                JsonBody.decode_early(handler, self._scope, body)
            except (Refusal, RequestEntityTooLarge) as error:
                fault = error
                self.declared = structs.replace(self.declared, limit=DEFAULT, limit_address=None)
        await self._admit_declared()
        if fault:
            check_role(self.declared, self._scope["user"])
            raise fault
        return receive

    async def _admit_declared(self) -> None:
        declared = self.declared
        if declared.roles:
            admitted = await self._admit_account()
        elif declared.limit_address:
            admitted = await self._admit_address(declared.limit_address)
        else:
            try:
                admitted = await self._admit_account()
            except Unauthenticated:
                admitted = await self._admit_address(declared.limit)
        self._tell(admitted)

    async def _admit_account(self) -> Admitted:
        token, declared = self._token(), self.declared
        if declared.limit_address:
            await self._admit_address(declared.limit_address)
        subject = token.session_id.hex if declared.per_session else ""
        return await self._admit(token, Ask(self._process.rule(declared.limit), subject))

    async def _admit_address(self, limit: str) -> Admitted:
        rule = self._process.rule(limit)
        if rule is None:
            return UNCOUNTED
        return await self._process.stores.admission.admit_address(self._process.proxies.client_of(self._scope), rule)

    async def _admit(self, token: Token, ask: Ask, *, then: Command | None = None) -> Admitted:
        admitted = await self._process.stores.admission.admit(token, ask, then=then)
        self._scope["user"], self._scope["auth"] = token, self._text
        return admitted

    def _token(self) -> Token:
        self._text = bearer(self._scope)
        now_s, latest_s = self._process.clock.read()
        return self._process.tokens.read(self._text, self.declared.token, now_s=now_s, latest_s=latest_s)

    def _tell(self, admitted: Admitted) -> None:
        """Say what is left of the limit (draft-ietf-httpapi-ratelimit-headers)."""
        rule = admitted.rule
        if rule is not None:
            left = f'"{rule.name}";r={admitted.remaining};t={admitted.reset_s}'
            self._reply.fields += ((b"ratelimit-policy", rule.policy), (b"ratelimit", left.encode()))


def _from_the_start(body: bytes, receive: Receive) -> Receive:
    """What receives a body that was read already, and then what comes after it."""
    unread = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Any:  # noqa: ANN401  (ASGI's messages)
        return unread.pop() if unread else await receive()

    return again


def bearer(scope: Scope) -> str:
    """The token in the one Authorization field; raises Unauthenticated when there is no such thing."""
    values = fields(scope, b"authorization")
    if len(values) != 1 or values[0][: len(SCHEME)].lower() != SCHEME:
        raise unauthenticated()
    return values[0][len(SCHEME) :].strip()


def idempotency_key(scope: Scope) -> str | None:
    """The caller's key for this request, None without one.

    Raises:
        Invalid: it is not 1 to 255 visible ASCII characters, or there are several.
    """
    keys = fields(scope, b"idempotency-key")
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or len(key) > KEY_CHARS_MAX or not _VISIBLE.fullmatch(key):
        pointer = "/Idempotency-Key"
        message = f"must be one header of 1 to {KEY_CHARS_MAX} visible ASCII characters"
        raise Invalid.at(pointer, message)
    return key
