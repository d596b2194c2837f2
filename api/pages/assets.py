"""The stylesheet and the scripts of the pages. They need no build step: browsers load them as they are."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files

from litestar.exceptions import NotFoundException

from api.pages.static import Static

PREFIX = "/assets/"

DIGEST_CHARS = 12

KEPT_FOR_EVER = "public, max-age=31536000, immutable"
"""The address of an asset changes with its content."""

MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript"}

_IMPORT = re.compile(r'(?<=from ")\./([a-z_]+\.js)(?=")')


def address(name: str) -> str:
    """The address of an asset: its name, and a digest of its content and of what it imports."""
    stem, _, suffix = name.rpartition(".")
    return f"{PREFIX}{stem}.{_digest(name)}.{suffix}"


@cache
def asset(file_name: str) -> Static:
    """An asset by the last part of its address; raises NotFoundException."""
    name = _by_file_name().get(file_name)
    if name is None:
        raise NotFoundException
    return Static.of(_content(name), MEDIA_TYPES[name[name.rindex(".") :]], kept=KEPT_FOR_EVER)


@cache
def _by_file_name() -> dict[str, str]:
    names = (file.name for file in files("api.pages").joinpath("assets").iterdir())
    return {address(name).removeprefix(PREFIX): name for name in names if name.endswith(tuple(MEDIA_TYPES))}


@cache
def _content(name: str) -> bytes:
    """The content of a file, whose imports lead to the addresses of what it imports."""
    text = files("api.pages").joinpath("assets", name).read_text(encoding="utf-8")
    return _IMPORT.sub(lambda found: address(found[1]), text).encode()


@cache
def _digest(name: str) -> str:
    return hashlib.sha256(_content(name)).hexdigest()[:DIGEST_CHARS]
