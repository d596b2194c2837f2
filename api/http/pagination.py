"""Cursors: where the next page begins, in a form that callers need not understand."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar.params import QueryParameter

from api.http.bodies import nfc
from domain.kernel.refusals import Invalid

Place = TypeVar("Place")

CURSOR_CHARS_MAX = 300

POSITION_MAX = 2**63 - 1
"""The largest number of a list's entry: a bigint of PostgreSQL."""

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
SKIP_MAX = 10_000
"""PostgreSQL reads what it skips; further on, cursors lead."""

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="Items of a page.")]
Skip = Annotated[int, QueryParameter(ge=0, le=SKIP_MAX, description="Items before the page.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=CURSOR_CHARS_MAX, description="`next_cursor` of the page before.")
]

SEARCH_CHARS_MAX = 100
EmailSearch = Annotated[
    str | None, QueryParameter(max_length=SEARCH_CHARS_MAX, description="In the e-mail address, blind to case.")
]


def write_cursor(place: object) -> str:
    """A cursor for a place in a list: a tuple of what the list is sorted by."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def read_cursor(cursor: str | None, place: type[Place]) -> Place | None:
    """The place a cursor stands for; raises Invalid for one that we did not write."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=place)
        _check_is_a_place(found)
    except (binascii.Error, ValueError, OverflowError, RecursionError):
        pointer, message = "/cursor", "is not a cursor of this list"
        raise Invalid.at(pointer, message) from None
    return found


def cut(found: list[Any], limit: int) -> tuple[list[Any], bool]:
    """A page of what was read, one more than it holds, and whether more follows."""
    return found[:limit], len(found) > limit


def searched(search: str | None) -> str | None:
    """What to look for, composed and without the space around it; None when there is nothing in it."""
    return nfc(search).replace("\x00", "") or None if search else None


def _check_is_a_place(found: object) -> None:
    """Raise ValueError or OverflowError for numbers and times of the right type that PostgreSQL has not."""
    for part in found if isinstance(found, tuple) else (found,):
        if isinstance(part, int) and not 0 <= part <= POSITION_MAX:
            raise OverflowError
        if isinstance(part, datetime):
            if part.tzinfo is None:
                raise ValueError
            part.astimezone(UTC)
