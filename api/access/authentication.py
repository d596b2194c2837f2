"""Authentication: whose access token, or refresh token, a request carries, in `Authorization` or in a cookie."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.access.cookies import cookie_token, uses_cookies
from api.http.headers import fields
from domain.accounts.tokens import unauthenticated

if TYPE_CHECKING:
    from litestar.types import Scope

    from api.access.declarations import Access
    from api.context import Process
    from domain.accounts.tokens import Token, TokenKind

SCHEME = "bearer "


def read_token(scope: Scope, process: Process, declared: Access) -> Token:
    """The token that a route asks for, with a valid signature and in time.

    Whether its session is alive is checked when the request is admitted.

    Raises:
        Unauthenticated: there is no such token.
    """
    now_s, latest_s = process.clock.read()
    return process.tokens.read(token_text(scope, declared.token), declared.token, now_s=now_s, latest_s=latest_s)


def token_text(scope: Scope, kind: TokenKind) -> str:
    """The text of the token in the one Authorization field; without this field, in the cookie of a cookie session.

    Raises:
        Unauthenticated: the field is missing or repeated, or has another scheme, and there is no cookie session.
    """
    values = fields(scope, b"authorization")
    if not values and uses_cookies(scope):
        return cookie_token(scope, kind)
    if len(values) != 1 or values[0][: len(SCHEME)].lower() != SCHEME:
        raise unauthenticated()
    return values[0][len(SCHEME) :].strip()
