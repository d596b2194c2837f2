"""Guest lists, by page and as a file."""

from __future__ import annotations

import csv
import io
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from api.cursors import cut, read_cursor, write_cursor
from api.wire import Page

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from domain.store.reports import Guest, Reports

CSV_MEDIA_TYPE = "text/csv"

ROWS_PER_READ = 500
"""Guests in memory at once, however long the list."""

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV injection)."""

_COLUMNS = ("booking_id", "user_id", "email", "quantity", "status", "created_at")


async def guest_page(reports: Reports, event_id: UUID, *, limit: int, cursor: str | None) -> Page[Guest]:
    """Some guests of an event."""
    after = read_cursor(cursor, UUID)
    guests, more = cut(await reports.guests(event_id, limit=limit + 1, after=after), limit)
    return Page(items=guests, next_cursor=write_cursor(guests[-1].booking_id) if more else None)


async def csv_lines(reports: Reports, event_id: UUID) -> AsyncIterator[bytes]:
    """All guests of an event as CSV (RFC 4180), none of whose cells a spreadsheet would run."""
    yield _line(_COLUMNS)
    guests = await reports.guests(event_id, limit=ROWS_PER_READ, after=None)
    while guests:
        yield b"".join(_line([_cell(getattr(guest, column)) for column in _COLUMNS]) for guest in guests)
        guests = await reports.guests(event_id, limit=ROWS_PER_READ, after=guests[-1].booking_id)


def _cell(value: object) -> str:
    text = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _line(cells: object) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(cells)  # type: ignore[arg-type]
    return line.getvalue().encode()
