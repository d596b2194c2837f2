"""Patterns of LIKE for literal texts."""

from __future__ import annotations

ESCAPE = "/"
"""The escape character of patterns; a backslash would have a meaning in strings too."""


def literally(search: str) -> str:
    """Escape the wildcards of a text, so that a pattern matches the text literally."""
    for special in (ESCAPE, "%", "_"):
        search = search.replace(special, ESCAPE + special)
    return search
