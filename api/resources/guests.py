"""Guest lists as pages and as CSV files."""

from __future__ import annotations

import codecs
import csv
import io
import re
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from litestar.params import QueryParameter
from msgspec import structs

from api.http.pagination import cut, read_cursor, write_cursor
from api.shapes import Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from domain.store.postgres.reports.guests import Guest, GuestLists, GuestsAsked

CSV_MEDIA_TYPE = "text/csv"

ROWS_PER_READ = 200
"""Guests that are read at once: some milliseconds of the process' time."""

FORMULA_STARTS = (
    "=+-@\t\r\n"
    "\u207a\u207b\u207c\u208a\u208b\u208c\u2212\u2a75\u2a76\ufb29\ufe62\ufe63\ufe66\ufe6b\uff0b\uff0d\uff1d\uff20"
)
"""Characters with which a formula begins in a spreadsheet (OWASP, CSV injection).

They include those that Unicode's compatibility forms (NFKC) turn into one of `=+-@`, because some spreadsheets treat
full-width characters like plain ones.
"""

_CELL_BEGINS = rf"(?:^|(?<=[^\w.+'-]))(?=[{re.escape(FORMULA_STARTS)}])"
_FORMULA = re.compile(_CELL_BEGINS)
"""Where a formula may begin: at the beginning of a cell, and after any character at which a spreadsheet may split.

If a spreadsheet splits at another character than the comma, quotes have no effect.
"""

_COLUMNS = ("booking_id", "user_id", "email", "quantity", "status", "created_at", "name")

_values = attrgetter(*_COLUMNS)

_ORDER_COLUMNS = ("tickets", "total_minor", "currency")


class Guests(StrEnum):
    """The bookings on a guest list."""

    HOLDING = "holding"
    """Bookings that hold tickets."""
    ALL = "all"
    """Also cancelled bookings."""


GuestStatus = Annotated[
    Guests, QueryParameter(description="`holding`: bookings that hold tickets; `all`: also cancelled ones.")
]
ByteOrderMark = Annotated[
    bool, QueryParameter(description="Begin the file with a byte order mark, which some spreadsheets need.")
]


async def guest_page(guest_lists: GuestLists, asked: GuestsAsked, *, cursor: str | None) -> Page[Guest]:
    """A page of the guests of an event."""
    after = read_cursor(cursor, tuple[datetime, UUID])
    found = await guest_lists.guests(structs.replace(asked, limit=asked.limit + 1, after=after))
    guests, more = cut(found, asked.limit)
    return Page(items=guests, next_cursor=write_cursor(_position(guests[-1])) if more else None)


async def csv_lines(guest_lists: GuestLists, asked: GuestsAsked, *, bom: bool) -> AsyncIterator[bytes]:
    """All requested guests as CSV (RFC 4180). Every cell is quoted, and no cell is a formula in a spreadsheet."""
    yield (codecs.BOM_UTF8 if bom else b"") + _lines([_COLUMNS + _ORDER_COLUMNS])
    asked = structs.replace(asked, limit=ROWS_PER_READ, after=None)
    guests = await guest_lists.guests(asked)
    while guests:
        yield _lines(_row(guest) for guest in guests)
        asked = structs.replace(asked, after=_position(guests[-1]))
        guests = await guest_lists.guests(asked)


def _position(guest: Guest) -> tuple[datetime, UUID]:
    """The position of a guest in the list."""
    return guest.created_at, guest.booking_id


def _row(guest: Guest) -> list[str]:
    """The cells of a guest: its booking, its tickets by type, and what they cost."""
    tickets = "; ".join(f"{line.quantity} {line.name}" for line in guest.items)
    return [_cell(value) for value in (*_values(guest), tickets, guest.total_minor, guest.currency)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
    return _FORMULA.sub("'", text)


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    lines = io.StringIO()
    csv.writer(lines, quoting=csv.QUOTE_ALL, lineterminator="\r\n").writerows(rows)
    return lines.getvalue().encode()
