"""The door: before any handler runs, who calls is known, and the call is counted.

One middleware, because each costs time: token, session and limit are one question to Redis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request
from litestar.enums import ScopeType

from api.access import OPTIONS_ACCESS, UNLIMITED, Access, declared_access
from api.options import answer_options
from api.process import STATE, Process
from domain.refusals import Invalid, Refusal, Unauthenticated
from domain.store.admission import UNCOUNTED, Admitted, Ask
from domain.tokens import unauthenticated, utc_now

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

    from domain.tokens import Token

KEY_CHARS_MAX = 255
SCHEME = "bearer "


class Door:
    """ASGI middleware: leaves the caller's token at `scope["user"]` and its text at `scope["auth"]`.

    Both are None on a route for anyone, when none or an unusable one was sent.

    Raises, to be answered as problems: Unauthenticated, RateLimited, IdempotencyKeyReused, Invalid,
    Unavailable.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit the request, or raise."""
        if scope["type"] == ScopeType.HTTP:
            declared = declared_access(scope["route_handler"]) or OPTIONS_ACCESS
            at: Process = scope["litestar_app"].state[STATE]
            scope["user"] = scope["auth"] = None
            admit = _admit_bearer if declared.roles else _admit_anyone
            admitted = await admit(Request(scope, receive), declared, at)
            _tell_limit(scope, admitted)
            if scope["method"] == "OPTIONS":
                await answer_options(scope, send)
                return
        await self.app(scope, receive, send)


def idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    """The caller's key for this request, None without one.

    Raises:
        Invalid: it is not 1 to 255 visible ASCII characters, or there are several.
    """
    keys = request.headers.getall("idempotency-key", [])
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= KEY_CHARS_MAX or not all("!" <= character <= "~" for character in key):
        pointer = "/Idempotency-Key"
        message = f"must be one header of 1 to {KEY_CHARS_MAX} visible ASCII characters"
        raise Invalid.at(pointer, message)
    return key


async def _admit_bearer(request: Request[Any, Any, Any], declared: Access, at: Process) -> Admitted:
    text = bearer(request)
    if text is None:
        raise unauthenticated()
    token = at.tokens.read(text, declared.token, now=utc_now())
    if declared.limit_address:
        await _count_address(request, declared.limit_address, at)
    admitted = await at.stores.admission.admit(token, await _ask(request, declared, token, at))
    request.scope["user"], request.scope["auth"] = token, text
    return admitted


async def _admit_anyone(request: Request[Any, Any, Any], declared: Access, at: Process) -> Admitted:
    """Count by account if a usable token came along, else by address; some routes always by address."""
    if declared.limit == UNLIMITED:
        return UNCOUNTED
    if declared.limit_address:
        return await _count_address(request, declared.limit_address, at)
    try:
        return await _admit_bearer(request, declared, at)
    except Unauthenticated:
        return await _count_address(request, declared.limit, at)


async def _ask(request: Request[Any, Any, Any], declared: Access, token: Token, at: Process) -> Ask:
    subject = token.session_id.hex if declared.per_session else ""
    key = idempotency_key(request) if declared.keyed else None
    if declared.keyed is None or key is None:
        return Ask(at.rule(declared.limit), subject)
    try:
        return Ask(at.rule(declared.limit), subject, key, declared.keyed(await request.body()))
    except Refusal:
        # The body makes no booking: it is counted, and refused where bodies are.
        return Ask(at.rule(declared.limit), subject)


async def _count_address(request: Request[Any, Any, Any], limit: str, at: Process) -> Admitted:
    rule = at.rule(limit)
    if rule is None:
        return UNCOUNTED
    return await at.stores.admission.admit_address(at.proxies.client_of(request.scope), rule)


def bearer(request: Request[Any, Any, Any]) -> str | None:
    """The token in the one Authorization header, None when there is no such thing."""
    values = request.headers.getall("authorization", [])
    if len(values) != 1 or values[0][: len(SCHEME)].lower() != SCHEME:
        return None
    return values[0][len(SCHEME) :].strip() or None


def _tell_limit(scope: Any, admitted: Admitted) -> None:  # noqa: ANN401  (a scope with a key of the envelope's)
    """Say what is left of the limit (draft-ietf-httpapi-ratelimit-headers)."""
    rule = admitted.rule
    if rule is not None:
        policy = f'"{rule.name}";q={rule.quota};w={rule.period_s}'
        left = f'"{rule.name}";r={admitted.remaining};t={admitted.reset_s}'
        scope["reply_headers"] += [(b"ratelimit-policy", policy.encode()), (b"ratelimit", left.encode())]
