"""Patterns of LIKE that look for a text as it is written."""

from __future__ import annotations

ESCAPE = "/"
"""Stands in a pattern before what is meant literally; a backslash would mean something in a string too."""


def literally(search: str) -> str:
    """A text to look for as it is, though it has what stands for other characters in a pattern."""
    for special in (ESCAPE, "%", "_"):
        search = search.replace(special, ESCAPE + special)
    return search
