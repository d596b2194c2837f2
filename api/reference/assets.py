"""Scripts and styles of the documentation pages, read from an installed package; none is kept here."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from litestar.exceptions import NotFoundException

from api.pages.static import KEPT, Static

PACKAGE = "drf_spectacular_sidecar"
"""Published for a Django application; only its files are read, nothing of it is imported."""

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
"""The only names that are served: a path is never made from what a caller sent."""


REDOC_LOGO = b"https://cdn.redoc.ly/redoc/logo-mini.svg"
"""A picture that ReDoc would ask of another host; the pages' policy stops it, with an error in the console."""

NO_PICTURE = b"data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""A transparent point."""


@cache
def asset(name: str) -> Static:
    """A file by its name; raises NotFoundException for any that is not on the list."""
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
