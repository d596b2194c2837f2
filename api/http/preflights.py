"""Preflights, and who else asks: whether a page of another origin may send a request (Fetch, 4.8).

The framework would take every OPTIONS with an `Origin` for one, and refuse it as plain text. Here a preflight from a
named origin is told what may be sent, and the browser compares. Every other OPTIONS is answered like one without
`Origin`: with the methods of the path, and nothing that lets a browser go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from litestar.config.cors import CORSConfig

    from api.http.headers import Field

ORIGIN = b"origin"
VARY_ORIGIN = (b"vary", b"Origin")
METHOD_ASKED_FOR = b"access-control-request-method"


class Preflights:
    """The preflights of one application, which lets pages of the origins of `config` call."""

    def __init__(self, config: CORSConfig | None) -> None:
        self._origins = frozenset(origin.encode() for origin in config.allow_origins) if config else frozenset()
        self._told: list[Field] = []
        if config:
            self._told = [
                (b"access-control-allow-methods", ", ".join(config.allow_methods).encode()),
                (b"access-control-allow-headers", ", ".join(config.allow_headers).encode()),
                (b"access-control-max-age", str(config.max_age).encode()),
                VARY_ORIGIN,
            ]

    def vary(self, scope: dict[str, Any]) -> bool:
        """Whether the answer has to say that it depends on `Origin`: the framework says so to named origins alone."""
        return bool(self._origins) and dict(scope["headers"]).get(ORIGIN) not in self._origins

    def answer(self, scope: dict[str, Any]) -> list[Field] | None:
        """The header of the answer, None for what is no preflight from a named origin; that one loses its `Origin`."""
        named = dict(scope["headers"])
        if METHOD_ASKED_FOR in named and named.get(ORIGIN) in self._origins:
            return [(b"access-control-allow-origin", named[ORIGIN]), *self._told]
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != ORIGIN]
        return None
