"""Scripts and styles of the documentation pages, read from an installed package."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from litestar.exceptions import NotFoundException

from api.pages.static import KEPT, Static

PACKAGE = "drf_spectacular_sidecar"
"""Published for Django applications. Only its files are read; no code of it is imported."""

FILES = {
    "swagger-ui-bundle.js": ("swagger-ui-dist/swagger-ui-bundle.js", "text/javascript"),
    "swagger-ui-standalone-preset.js": (
        "swagger-ui-dist/swagger-ui-standalone-preset.js",
        "text/javascript",
    ),
    "swagger-ui.css": ("swagger-ui-dist/swagger-ui.css", "text/css"),
    "favicon-32x32.png": ("swagger-ui-dist/favicon-32x32.png", "image/png"),
    "redoc.standalone.js": ("redoc/bundles/redoc.standalone.js", "text/javascript"),
}
"""The files that are served. Paths are never made from the name in a request."""


REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
"""A picture that ReDoc loads from another host. The pages' content security policy blocks it, with an error in the
browser's console."""

NO_PICTURE = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""A transparent pixel."""


@cache
def asset(name: str) -> Static:
    """A file by its name; raises NotFoundException if it is not in `FILES`."""
    if name not in FILES:
        raise NotFoundException
    path, media_type = FILES[name]
    content = (_folder() / path).read_bytes().replace(REDOC_LOGO, NO_PICTURE)
    return Static.of(content, media_type, kept=KEPT)


def _folder() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        message = f"{PACKAGE} is not installed"
        raise ModuleNotFoundError(message)
    return Path(spec.origin).parent / "static" / PACKAGE
