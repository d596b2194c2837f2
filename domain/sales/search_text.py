"""Normalization of search texts and titles: `fold` removes case, accents and compatibility forms.

PostgreSQL keeps titles and locations in the same form in generated columns (migration 0011), so a search is a LIKE.
"""

from __future__ import annotations

import re
import unicodedata

_ACCENTS = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+")
"""The five blocks of combining diacritical marks. Marks that spell vowels or consonants, as in Hindi, are kept."""

_STROKES = {"ø": "o", "đ": "d", "ħ": "h", "\u0131": "i", "ł": "l", "ŧ": "t"}
"""Letters whose accent Unicode does not decompose."""

_CASED = (chr(code) for code in range(0x41, 0x588))
"""Latin, Greek, Cyrillic and Armenian letters. The table is applied after decomposition."""

_FOLDED = {"ß": "ss", "ẞ": "ss"} | {each: _STROKES.get(each.casefold(), each.casefold()) for each in _CASED}

_TABLE = str.maketrans(_FOLDED)


def fold(text: str) -> str:
    """A text without case and accents, with compatibility forms (full-width letters, ligatures) replaced.

    `ß` becomes `ss`. Umlauts lose their dots: `ö` becomes `o`, not `oe`. `æ` and `œ` stay letters of their own.
    """
    if text.isascii():
        return text.lower()
    return _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).translate(_TABLE)
