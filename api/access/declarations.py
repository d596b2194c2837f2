"""What every route declares: who may come in, and how often.

A route that declares nothing does not start (`check_declared`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from litestar.routes import HTTPRoute
from msgspec import Struct

from api.fast_path import Lane
from domain.accounts.accounts import Role
from domain.accounts.tokens import TokenKind
from domain.kernel.refusals import Forbidden, Invalid, RateLimited, Refusal, Unauthenticated, Unavailable
from domain.store.redis.admission import Rule

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.handlers import BaseRouteHandler

    from domain.platform.settings import Settings

ANYONE: frozenset[Role] = frozenset()
"""No token is needed; one that is sent only tells whose limit counts."""

ATTENDEES = frozenset({Role.ATTENDEE, Role.ADMIN})
ORGANIZERS = frozenset({Role.ORGANIZER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})
EVERYBODY = frozenset(Role)
"""Whoever has an account."""

DEFAULT = "default"
"""The limit of what has none of its own."""

UNLIMITED = "unlimited"
"""For what machines ask all the time, and what must answer while Redis is away."""

OPT = "access"
"""Where a route's declaration stands among its options."""


class Access(Struct, frozen=True, kw_only=True):
    """A route's declaration.

    `limit` names the rule that counts its requests, by account or, without one, by address; `limit_address`
    one that counts by address, besides it or, where no account is needed, instead of it. `lane` answers at
    the door (see `api.fast_path`).
    """

    roles: frozenset[Role]
    limit: str
    limit_address: str | None = None
    token: TokenKind = TokenKind.ACCESS
    per_session: bool = False
    lane: Lane | None = None
    reads: tuple[str, ...] = ()
    sends: Mapping[int, tuple[str, ...]] = {}
    refuses: tuple[type[Refusal], ...] = ()


OPTIONS_ACCESS = Access(roles=ANYONE, limit=DEFAULT)
"""The framework answers OPTIONS for every path by itself."""


def access(  # noqa: PLR0913  (what there is to declare)
    roles: frozenset[Role],
    *,
    limit: str = DEFAULT,
    limit_address: str | None = None,
    token: TokenKind = TokenKind.ACCESS,
    per_session: bool = False,
    lane: Lane | None = None,
    refuses: tuple[type[Refusal], ...] = (),
    reads: tuple[str, ...] = (),
    sends: Mapping[int, tuple[str, ...]] | None = None,
) -> dict[str, Any]:
    """The arguments of a route decorator that declare who may call it, how often, and what it may refuse.

    `reads` names header fields that the handler looks at, and `sends` those of its answers, by status, beside the
    ones of every answer (`api.http.response_headers`). Both are for the documentation; tests hold the answers to it.
    """
    guarded = (Unauthenticated, Forbidden) if roles else ()
    counted = () if limit == UNLIMITED else (Invalid, RateLimited, Unavailable)
    declared = Access(
        roles=roles,
        limit=limit,
        limit_address=limit_address,
        token=token,
        per_session=per_session,
        lane=lane,
        reads=reads,
        sends=sends or {},
        refuses=(*refuses, *guarded, *counted),
    )
    return {"opt": {OPT: declared}}


def rules_of(settings: Settings) -> dict[str, Rule]:
    """The rules of the limits, by the names routes give."""
    closed = (
        "login",
        "login_address",
        "refresh",
        "signup",
        "booking_create",
        "booking_cancel",
        "event_create",
        "event_delete",
        "event_update",
        "admin_write",
    )
    rules = [Rule.of(name, getattr(settings, f"limit_{name}"), fails_open=False) for name in closed]
    rules += [Rule.of(name, getattr(settings, f"limit_{name}"), fails_open=True) for name in ("admin_read", "default")]
    return {rule.name: rule for rule in rules}


def declared_access(handler: BaseRouteHandler) -> Access | None:
    """What a route declares, None for one that does not."""
    found = handler.opt.get(OPT)
    return found if isinstance(found, Access) else None


class Undeclared(Exception):
    """A route says not who may call it, names a limit that there is not, or has keys that stand for nothing."""


def check_declared(app: Litestar, rules: Mapping[str, Rule]) -> None:
    """Refuse to start with a route that anybody could call without limit; raises Undeclared."""
    names = rules.keys() | {UNLIMITED}
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else []:
            declared = declared_access(handler)
            if handler.http_methods == {"OPTIONS"}:
                continue
            if declared is None or not {declared.limit, declared.limit_address or declared.limit} <= names:
                message = f"{route.path} {sorted(handler.http_methods)}: declare access(roles, limit=…) on its handler"
                raise Undeclared(message)
            if declared.lane and declared.lane.keyed and not declared.lane.takes:
                message = (
                    f"{route.path} {sorted(handler.http_methods)}: its keys stand for a body that its lane never reads"
                )
                raise Undeclared(message)
