"""Header fields, read from the raw request: for what every request asks, where a parsed copy of all costs too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from litestar.types import Scope

Field = tuple[bytes, bytes]
"""A header field: its name in lower case, and its value."""


def fields(scope: Scope, name: bytes) -> list[str]:
    """Every field of this name, in lower case, as it was sent."""
    return [value.decode("latin-1") for field, value in scope["headers"] if field == name]


def field(scope: Scope, name: bytes) -> str | None:
    """The first field of this name, in lower case."""
    for each, value in scope["headers"]:
        if each == name:
            return value.decode("latin-1")
    return None
