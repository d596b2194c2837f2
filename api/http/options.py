"""Answers to OPTIONS: the methods of a path.

The framework would answer for each group of handlers separately. Here a path is one path, whatever the names of its
parameters are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from litestar.routes import HTTPRoute
from litestar.utils import normalize_path

if TYPE_CHECKING:
    from litestar import Litestar
    from litestar.types import Scope, Send

STATE = "methods"
"""The name of the table in the application's state."""

_PARAMETER = re.compile(r"{[^}]*}")


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return _PARAMETER.sub("{}", path)


def methods_by_shape(app: Litestar) -> dict[str, bytes]:
    """The value of `Allow` for each path. A path with GET has HEAD as well."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            found.setdefault(shape(route.path_format), set()).update(route.methods)
    return {
        path: ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()))).encode()
        for path, methods in found.items()
    }


def methods_of_server(app: Litestar) -> bytes:
    """The value of `Allow` for all paths together."""
    allowed = {method for methods in app.state[STATE].values() for method in methods.decode().split(", ")}
    return ", ".join(sorted(allowed)).encode()


def methods_of_path(app: Litestar, path: str) -> str:
    """The value of `Allow` for the path of a request; raises HTTPException for an unknown path."""
    *_, template = app.asgi_router.handle_routing(path=normalize_path(path), method="OPTIONS")
    allowed: bytes = app.state[STATE][shape(template)]
    return allowed.decode()


async def answer_options(scope: Scope, send: Send) -> None:
    """Answer 204 with the methods of the requested path."""
    allowed = scope["litestar_app"].state[STATE][shape(scope["path_template"])]
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allowed)]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
