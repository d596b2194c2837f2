"""The door: before any handler runs, who calls is known, and the call is counted.

One middleware, because each costs time: token, session and limit are one question to Redis.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from litestar.enums import ScopeType

from api.access import OPTIONS_ACCESS, UNLIMITED, Access, declared_access
from api.fields import fields
from api.guards import check_role
from api.lane import Call, answer, read_body, refuse
from api.options import answer_options
from api.process import STATE, Process
from domain.refusals import Invalid, Refusal, Unauthenticated
from domain.store.admission import UNCOUNTED, Admitted, Ask
from domain.tokens import unauthenticated, utc_now

if TYPE_CHECKING:
    from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

    from api.lane import Lane
    from domain.tokens import Token

KEY_CHARS_MAX = 255
SCHEME = "bearer "

_VISIBLE = re.compile("[!-~]+")


class Door:
    """ASGI middleware: leaves the caller's token at `scope["user"]` and its text at `scope["auth"]`.

    Both are None on a route for anyone, when none or an unusable one was sent.

    Raises, to be answered as problems: Unauthenticated, RateLimited, IdempotencyKeyReused, Invalid,
    Unavailable.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit the request, or raise; answer it if its route is in the fast lane."""
        if scope["type"] == ScopeType.HTTP:
            scope["user"] = scope["auth"] = None
            declared = declared_access(scope["route_handler"]) or OPTIONS_ACCESS
            visit = _Visit(scope, receive, declared)
            if declared.lane:
                if await visit.take(declared.lane, send):
                    return
            elif declared.limit != UNLIMITED:
                await visit.admit()
            if scope["method"] == "OPTIONS":
                await answer_options(scope, send)
                return
        await self.app(scope, receive, send)


class _Visit:
    """One request before the door."""

    def __init__(self, scope: HTTPScope, receive: Receive, declared: Access) -> None:
        self._scope = scope
        self._receive = receive
        self._declared = declared
        self._process: Process = scope["litestar_app"].state[STATE]
        self._key: str | None = None
        self._body = b""

    async def take(self, lane: Lane, send: Send) -> bool:
        """Answer in the fast lane; False when that leaves the request to its handler."""
        try:
            await self.admit()
            check_role(self._declared, self._scope["user"])
            answered = await lane(Call(self._process, self._scope, self._scope["user"], self._body, self._key))
        except Refusal as refusal:
            await refuse(self._scope, send, refusal)
            return True
        if answered is not None:
            await answer(send, answered)
        return answered is not None

    async def admit(self) -> None:
        """Admit by account where one is needed or told, else by address; some routes always by address."""
        declared = self._declared
        if declared.roles:
            admitted = await self._admit_account()
        elif declared.limit_address:
            admitted = await self._admit_address(declared.limit_address)
        else:
            try:
                admitted = await self._admit_account()
            except Unauthenticated:
                admitted = await self._admit_address(declared.limit)
        _tell_limit(self._scope, admitted)

    async def _admit_account(self) -> Admitted:
        at, declared = self._process, self._declared
        text = bearer(self._scope)
        token = at.tokens.read(text, declared.token, now=utc_now())
        if declared.limit_address:
            await self._admit_address(declared.limit_address)
        admitted = await at.stores.admission.admit(token, await self._ask(token))
        self._scope["user"], self._scope["auth"] = token, text
        return admitted

    async def _admit_address(self, limit: str) -> Admitted:
        rule = self._process.rule(limit)
        if rule is None:
            return UNCOUNTED
        address = self._process.proxies.client_of(self._scope)
        return await self._process.stores.admission.admit_address(address, rule)

    async def _ask(self, token: Token) -> Ask:
        declared = self._declared
        rule = self._process.rule(declared.limit)
        subject = token.session_id.hex if declared.per_session else ""
        if declared.keyed is None:
            return Ask(rule, subject)
        self._key = idempotency_key(self._scope)
        self._body = await read_body(self._scope, self._receive)
        if self._key is None:
            return Ask(rule, subject)
        try:
            return Ask(rule, subject, self._key, declared.keyed(self._body))
        except Refusal:
            # The body asks for nothing: it is counted here, and refused where bodies are.
            return Ask(rule, subject)


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


def _tell_limit(scope: Any, admitted: Admitted) -> None:  # noqa: ANN401  (a scope with a key of the envelope's)
    """Say what is left of the limit (draft-ietf-httpapi-ratelimit-headers)."""
    rule = admitted.rule
    if rule is not None:
        policy = f'"{rule.name}";q={rule.quota};w={rule.period_s}'
        left = f'"{rule.name}";r={admitted.remaining};t={admitted.reset_s}'
        scope["reply_headers"] += [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
