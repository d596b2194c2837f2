"""The door: before any handler runs, who calls is known, and the call is counted.

One middleware, because each costs time: session and limit are one question to Redis, and what a lane does for whom
that admits goes with it.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from litestar.enums import ScopeType

from api.access import OPTIONS_ACCESS, UNLIMITED, Access, declared_access
from api.fields import fields
from api.guards import check_role
from api.lane import Call, read_order, refusing, send_answer
from api.options import answer_options
from api.process import STATE
from domain.refusals import Invalid, Refusal, Unauthenticated
from domain.store.admission import UNCOUNTED, Admitted, Ask
from domain.tokens import unauthenticated

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from api.envelope import Reply
    from api.lane import Answer, Lane
    from api.process import Process
    from domain.store.scripts import Command
    from domain.tokens import Token

KEY_CHARS_MAX = 255
SCHEME = "bearer "

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
                if await visit.take(visit.declared.lane, receive, send):
                    return
            elif visit.declared.limit != UNLIMITED:
                await visit.admit()
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
            return refusing(refusal, request_id=self._reply.request_id)

    async def take(self, lane: Lane, receive: Receive, send: Send) -> bool:
        """Answer in the fast lane; False when that leaves the request to its handler."""
        answered = await self.answer(lane, receive)
        if answered is None:
            return False
        await send_answer(answered, self._reply, self._scope, send)
        return True

    async def _call(self, lane: Lane, receive: Receive) -> Call:
        """The request, admitted and of somebody whose role may make it, with its body."""
        token, declared = self._token(), self.declared
        call = Call(self._process, self._scope, token)
        ask, fault = Ask(self._process.rule(declared.limit)), None
        if lane.takes:
            call.key = idempotency_key(self._scope)
            call.order = await read_order(self._scope, receive, lane.takes)
            fault = call.order if isinstance(call.order, Refusal) else None
            if call.key and lane.keyed and fault is None:
                ask = Ask(ask.rule, key=call.key, body=lane.keyed(call.order))
        allowed = fault is None and token.role in declared.roles
        admitted = await self._admit(token, ask, then=lane.ahead(call) if allowed else None)
        self._tell(admitted)
        check_role(declared, token)
        if fault:
            raise fault
        call.answered = admitted.after
        return call

    async def admit(self) -> None:
        """Admit by account where one is needed or told, else by address; some routes always by address."""
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
        return self._process.tokens.read(self._text, self.declared.token, now_s=time.time())

    def _tell(self, admitted: Admitted) -> None:
        """Say what is left of the limit (draft-ietf-httpapi-ratelimit-headers)."""
        rule = admitted.rule
        if rule is not None:
            left = f'"{rule.name}";r={admitted.remaining};t={admitted.reset_s}'
            self._reply.fields += ((b"ratelimit-policy", rule.policy), (b"ratelimit", left.encode()))


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
