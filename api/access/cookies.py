"""Cookie sessions: a browser keeps the tokens of a session in cookies that no script can read.

A request belongs to a cookie session if it has the header field `Onsale-Session`, no `Authorization`, and comes from a
page of this origin. Cookies of any other request are ignored. Three things keep pages of other origins out:

- Browsers do not send the cookies with their requests (`SameSite=Strict`).
- They cannot add the header field: a preflight would have to allow it, and CORS never does (`api/http/cors.py`).
- Their requests say where they come from, in `Sec-Fetch-Site` or `Origin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.http.headers import fields
from domain.accounts.tokens import TokenKind, unauthenticated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.types import Scope

SESSION = "Onsale-Session"
"""The header field by which a page uses its cookies."""

COOKIE = "cookie"
SECURE_COOKIE = "secure-cookie"
"""For pages that were loaded over TLS, also if a proxy ends it: the cookies are sent over TLS only, and their names
keep pages of other hosts from setting them (RFC 6265bis, 4.1.3.2)."""

SECURE_PREFIX = "__Host-"

NAMES = {TokenKind.ACCESS: "onsale_access", TokenKind.REFRESH: "onsale_refresh"}
"""The cookies of a session. Over TLS, `SECURE_PREFIX` is before the name."""

SAME_ORIGIN = "same-origin"

_FIELD = SESSION.lower().encode()


def uses_cookies(scope: Scope) -> bool:
    """Whether a request belongs to a cookie session, or asks for one when it logs in."""
    wanted = fields(scope, _FIELD)
    if wanted not in ([COOKIE], [SECURE_COOKIE]) or fields(scope, b"authorization"):
        return False
    return _comes_from_this_origin(scope)


def cookie_token(scope: Scope, kind: TokenKind) -> str:
    """The token of this kind in the cookies of a request.

    Raises:
        Unauthenticated: there is no such cookie, or there are two.
    """
    name = _name(scope, kind)
    found = [value for each, value in _cookies(scope) if each == name]
    if len(found) != 1:
        raise unauthenticated()
    return found[0]


def keep_in_cookies(scope: Any, tokens: dict[TokenKind, str], lifetime_s: dict[TokenKind, int]) -> None:  # noqa: ANN401  (has keys of ours)
    """Let the answer set the cookies of a session."""
    scope["reply"].fields += [
        (b"set-cookie", _cookie(scope, kind, token, lifetime_s[kind])) for kind, token in tokens.items()
    ]


def drop_cookies(scope: Any) -> None:  # noqa: ANN401  (as above)
    """Let the answer delete the cookies, if the request belongs to a cookie session."""
    if uses_cookies(scope):
        keep_in_cookies(scope, dict.fromkeys(NAMES, ""), dict.fromkeys(NAMES, 0))


def _comes_from_this_origin(scope: Scope) -> bool:
    """Whether a browser says that a page of this origin made the request.

    Browsers send `Sec-Fetch-Site` over TLS and to this machine, and `Origin` with every request of another origin that
    has a header field of its own. So a request with neither is from this origin.
    """
    sites = fields(scope, b"sec-fetch-site")
    if sites:
        return sites == [SAME_ORIGIN]
    origins, hosts = fields(scope, b"origin"), fields(scope, b"host")
    # Without the scheme: behind a proxy that ends TLS, this process does not know it.
    return not origins or [each.partition("://")[2].lower() for each in origins] == [host.lower() for host in hosts]


def _is_secure(scope: Scope) -> bool:
    return fields(scope, _FIELD) == [SECURE_COOKIE]


def _name(scope: Scope, kind: TokenKind) -> str:
    return (SECURE_PREFIX if _is_secure(scope) else "") + NAMES[kind]


def _cookies(scope: Scope) -> Iterator[tuple[str, str]]:
    """The names and values in the `Cookie` fields."""
    for line in fields(scope, b"cookie"):
        for pair in line.split(";"):
            name, _, value = pair.partition("=")
            yield name.strip(), value.strip()


def _cookie(scope: Scope, kind: TokenKind, value: str, lifetime_s: int) -> bytes:
    secure = "; Secure" if _is_secure(scope) else ""
    return f"{_name(scope, kind)}={value}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Strict{secure}".encode()
