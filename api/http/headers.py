"""Header fields of requests, read from the raw list: a parsed copy of all fields costs too much on every request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from domain.kernel.refusals import Invalid

if TYPE_CHECKING:
    from litestar.types import Scope

Field = tuple[bytes, bytes]
"""A header field: its name in lower case, and its value."""

IDEMPOTENCY_KEY = "Idempotency-Key"
KEY_CHARS_MAX = 255
_VISIBLE = re.compile("[!-~]+")


def fields(scope: Scope, name: bytes) -> list[str]:
    """The values of every field with this name, which is given in lower case."""
    return [value.decode("latin-1") for field, value in scope["headers"] if field == name]


def field(scope: Scope, name: bytes) -> str | None:
    """The value of the first field with this name, which is given in lower case; None without one."""
    for each, value in scope["headers"]:
        if each == name:
            return value.decode("latin-1")
    return None


def idempotency_key(scope: Scope) -> str | None:
    """The caller's key for this request, None without one.

    Raises:
        Invalid: it is not 1 to 255 visible ASCII characters, or there are several.
    """
    keys = fields(scope, b"idempotency-key")
    if not keys:
        return None
    key = keys[0]
    if len(keys) > 1 or len(key) > KEY_CHARS_MAX or not _VISIBLE.fullmatch(key):
        message = f"must be one header of 1 to {KEY_CHARS_MAX} visible ASCII characters"
        raise Invalid.at("/" + IDEMPOTENCY_KEY, message)
    return key
