"""What every route declares: who may call it, and how often.

A route that declares nothing does not start (`check_declared`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from litestar.routes import HTTPRoute
from msgspec import Struct

from domain.accounts.accounts import Role
from domain.accounts.tokens import TokenKind
from domain.kernel.refusals import Forbidden, Invalid, RateLimited, Refusal, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.handlers import BaseRouteHandler

    from domain.store.redis.admission import Rule

ANYONE: frozenset[Role] = frozenset()
"""No token is needed. If one is sent, it only decides whose limit counts."""

ORGANIZERS = frozenset({Role.ORGANIZER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
EVERYBODY = frozenset(Role)
"""Every account."""

DEFAULT = "default"
"""The limit of routes without one of their own."""

UNLIMITED = "unlimited"
"""For routes that machines poll, and routes that must answer while Redis cannot be reached."""

OPT = "access"
"""The name of a route's declaration among its options."""


class Access(Struct, frozen=True, kw_only=True):
    """A route's declaration.

    `limit` names the rule that counts its requests, by account or, without an account, by address. `limit_address`
    names one that counts by address, in addition or, if no account is needed, instead.
    """

    roles: frozenset[Role]
    limit: str
    limit_address: str | None = None
    token: TokenKind = TokenKind.ACCESS
    per_session: bool = False
    reads: tuple[str, ...] = ()
    sends: Mapping[int, tuple[str, ...]] = {}
    refuses: tuple[type[Refusal], ...] = ()


OPTIONS_ACCESS = Access(roles=ANYONE, limit=DEFAULT)
"""OPTIONS of every path, whose handlers the framework makes."""


def access(  # noqa: PLR0913  (always called by name)
    roles: frozenset[Role],
    *,
    limit: str = DEFAULT,
    limit_address: str | None = None,
    token: TokenKind = TokenKind.ACCESS,
    per_session: bool = False,
    refuses: tuple[type[Refusal], ...] = (),
    reads: tuple[str, ...] = (),
    sends: Mapping[int, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """The arguments of a route decorator that declare who may call it, how often, and what it may refuse.

    `reads` names header fields that the handler reads. `sends` names those of its answers, by status, in addition to
    the ones of every answer (`api/http/response_headers.py`). The document lists both, and tests compare the answers.
    """
    guarded = (Unauthenticated, Forbidden) if roles else ()
    counted = () if limit == UNLIMITED else (Invalid, RateLimited, Unavailable)
    declared = Access(
        roles=roles,
        limit=limit,
        limit_address=limit_address,
        token=token,
        per_session=per_session,
        reads=reads,
        sends=sends or {},
        refuses=(*refuses, *guarded, *counted),
    )
    return {"opt": {OPT: declared}}


def declared_access(handler: BaseRouteHandler) -> Access | None:
    """What a route declares, None for one that does not."""
    found = handler.opt.get(OPT)
    return found if isinstance(found, Access) else None


class Undeclared(Exception):
    """A route does not declare who may call it, or names a limit that does not exist."""


def check_declared(app: Litestar, rules: Mapping[str, Rule]) -> None:
    """Check every route's declaration; raises Undeclared."""
    names = rules.keys() | {UNLIMITED}
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else []:
            declared = declared_access(handler)
            if handler.http_methods == {"OPTIONS"}:
                continue
            if declared is None or not {declared.limit, declared.limit_address or declared.limit} <= names:
                message = f"{route.path} {sorted(handler.http_methods)}: declare access(roles, limit=…) on its handler"
                raise Undeclared(message)
