"""Answers to OPTIONS: the methods of a path.

The framework answers it once for each group of handlers and knows only those; a path is one path, whatever
its parameters are called.
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
"""Where the table stands in the application's state."""

WHOLE_SERVER = "whole_server"
"""Where it stands in a request's scope that it asks for the whole server, `OPTIONS *` (api.http.connection)."""

_PARAMETER = re.compile(r"{[^}]*}")


def shape(path: str) -> str:
    """A path without the names of its parameters."""
    return _PARAMETER.sub("{}", path)


def methods_by_shape(app: Litestar) -> dict[str, bytes]:
    """What `Allow` says of each path; whoever answers GET answers HEAD."""
    found: dict[str, set[str]] = {}
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            found.setdefault(shape(route.path_format), set()).update(route.methods)
    return {
        path: ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set()))).encode()
        for path, methods in found.items()
    }


def methods_of_server(app: Litestar) -> bytes:
    """What `Allow` says of all paths together."""
    allowed = {method for methods in app.state[STATE].values() for method in methods.decode().split(", ")}
    return ", ".join(sorted(allowed)).encode()


def methods_of_path(app: Litestar, path: str) -> str:
    """What `Allow` says of the path of a request; raises HTTPException for a path that there is not."""
    *_, template = app.asgi_router.handle_routing(path=normalize_path(path), method="OPTIONS")
    allowed: bytes = app.state[STATE][shape(template)]
    return allowed.decode()


async def answer_options(scope: Scope, send: Send) -> None:
    """Answer 204 with the methods of the path that was asked for."""
    allowed = scope["litestar_app"].state[STATE][shape(scope["path_template"])]
    await send({"type": "http.response.start", "status": 204, "headers": [(b"allow", allowed)]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
