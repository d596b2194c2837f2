"""Pages of lists: limits, and opaque cursors that mark where the next page begins."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import msgspec
from litestar.params import QueryParameter

from api.http.bodies import nfc
from domain.kernel.refusals import Invalid

Position = TypeVar("Position")

CURSOR_CHARS_MAX = 300

POSITION_MAX = 2**63 - 1
"""The largest number in a cursor: a bigint of PostgreSQL."""

LIMIT_DEFAULT = 20
LIMIT_MAX = 100
SKIP_MAX = 10_000
"""PostgreSQL reads the rows that it skips. For later pages there are cursors."""

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="Items on a page.")]
Skip = Annotated[int, QueryParameter(ge=0, le=SKIP_MAX, description="Items to skip before the page.")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=CURSOR_CHARS_MAX, description="The `next_cursor` of the previous page.")
]

SEARCH_CHARS_MAX = 100
EmailSearch = Annotated[
    str | None, QueryParameter(max_length=SEARCH_CHARS_MAX, description="A part of the e-mail address, in any case.")
]


def write_cursor(position: object) -> str:
    """The cursor for a position in a list: the values by which the list is sorted."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def read_cursor(cursor: str | None, position: type[Position]) -> Position | None:
    """The position of a cursor; raises Invalid if `write_cursor` did not write it."""
    if cursor is None:
        return None
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = msgspec.json.decode(base64.b64decode(padded, altchars=b"-_", validate=True), type=position)
        _check_is_a_position(found)
    except (binascii.Error, ValueError, OverflowError, RecursionError):
        pointer, message = "/cursor", "is not a cursor of this list"
        raise Invalid.at(pointer, message) from None
    return found


def cut(found: list[Any], limit: int) -> tuple[list[Any], bool]:
    """The page of `limit` items, and whether more follow; `found` has one item more than the page, if there is one."""
    return found[:limit], len(found) > limit


def searched(search: str | None) -> str | None:
    """The search text, normalized; None if it is empty."""
    return nfc(search).replace("\x00", "") or None if search else None


def _check_is_a_position(found: object) -> None:
    """Raise ValueError or OverflowError for numbers and times that PostgreSQL cannot store."""
    for part in found if isinstance(found, tuple) else (found,):
        if isinstance(part, int) and not 0 <= part <= POSITION_MAX:
            raise OverflowError
        if isinstance(part, datetime):
            if part.tzinfo is None:
                raise ValueError
            part.astimezone(UTC)
