"""Promo codes from a pattern: each `#` becomes a letter or digit that nobody can guess."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from domain.sales.ticket_types import code_key

if TYPE_CHECKING:
    from collections.abc import Collection

PLACEHOLDER = "#"

ALPHABET = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Letters and digits that are not taken for one another: without I, L, O, 0 and 1."""

CODES_AT_ONCE_MAX = 1_000

PLACEHOLDERS_MIN = 4
"""Some 920,000 codes: of a thousand guesses, at most one hits a thousand codes. An account has ten a minute."""


def broken_pattern(pattern: str) -> str | None:
    """What is wrong with a pattern, None if its codes cannot be guessed."""
    if pattern.count(PLACEHOLDER) >= PLACEHOLDERS_MIN:
        return None
    return f"needs at least {PLACEHOLDERS_MIN} of `{PLACEHOLDER}`, so that its codes cannot be guessed"


def generate_codes(pattern: str, count: int, *, taken: Collection[str]) -> list[str]:
    """Different codes of a pattern, none of which is among the keys that are `taken`."""
    found: dict[str, str] = {}
    while len(found) < count:
        code = "".join(secrets.choice(ALPHABET) if each == PLACEHOLDER else each for each in pattern)
        if code_key(code) not in taken:
            found[code_key(code)] = code
    return list(found.values())
