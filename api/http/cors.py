"""Cross-origin requests (CORS): which pages of other origins may call the API and read its answers.

The outermost middleware applies this to every route. A preflight of a named origin is answered here. Every other
OPTIONS request is answered like one without `Origin`: with the methods of the path, and without permission.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from api.http.response_headers import EXPOSED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.http.headers import Field

METHODS = ("GET", "POST", "PATCH", "DELETE")

PREFLIGHT_AGE_S = 3600
"""How long a browser may keep the answer to a preflight."""

ORIGIN = b"origin"
METHOD_ASKED_FOR = b"access-control-request-method"

_VARY: Field = (b"vary", b"Origin")


class Cors:
    """The CORS policy of an application. Origins are exact. Cookies are never allowed."""

    def __init__(self, origins: Iterable[str], *, request_headers: Iterable[str]) -> None:
        self._preflight: list[Field] = [
            (b"access-control-allow-methods", ", ".join(METHODS).encode()),
            (b"access-control-allow-headers", ", ".join(request_headers).encode()),
            (b"access-control-max-age", b"%d" % PREFLIGHT_AGE_S),
        ]
        exposed = (b"access-control-expose-headers", ", ".join(EXPOSED).encode())
        self._fields: dict[bytes | None, list[Field]] = {
            origin.encode(): [(b"access-control-allow-origin", origin.encode()), exposed, _VARY] for origin in origins
        }

    def fields(self, scope: dict[str, Any]) -> list[Field]:
        """The header fields of the answer to a request. Caches are always told that it depends on `Origin`."""
        if not self._fields:
            return []
        asked = dict(scope["headers"])
        if scope["method"] == "OPTIONS" and METHOD_ASKED_FOR not in asked:
            return [_VARY]
        return self._fields.get(asked.get(ORIGIN), [_VARY])

    def preflight(self, scope: dict[str, Any]) -> list[Field]:
        """More header fields for the answer to a preflight of a named origin; empty for every other OPTIONS."""
        asked = dict(scope["headers"])
        return self._preflight if METHOD_ASKED_FOR in asked and asked.get(ORIGIN) in self._fields else []
