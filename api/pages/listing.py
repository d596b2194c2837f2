"""The search for events on the first page."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
from msgspec import Struct

from api.http.pagination import LIMIT_DEFAULT, read_cursor, searched
from api.pages.rendering import instant
from api.reads.events import ListAsked

if TYPE_CHECKING:
    from api.reads.events import Showing

FIRST_ID = UUID(int=0)
"""Before every id."""

DAY = timedelta(days=1)


class EventSearch(Struct, frozen=True, kw_only=True):
    """The fields of the form, as they were sent: a word, and the first and the last day."""

    q: str
    since: str
    until: str

    @property
    def filtered(self) -> bool:
        """Whether a field is filled in."""
        return bool(self.q or self.since or self.until)

    def fields(self) -> dict[str, str]:
        """The fields that are filled in, by their names in the form."""
        named = {"q": self.q, "from": self.since, "to": self.until}
        return {name: value for name, value in named.items() if value}

    def fault(self) -> str | None:
        """The message for a date that is none."""
        wrong = [value for value in (self.since, self.until) if value and _midnight(value) is None]
        return f"“{wrong[0]}” is not a date. Write it as in 2027-03-31." if wrong else None


async def found_events(
    showing: Showing, asked: EventSearch, cursor: str | None
) -> tuple[list[dict[str, Any]], str | None]:
    """A page of the events that were asked for, as the API shows them, and the cursor of the next page.

    Days are those of UTC. The list is sorted by the start, so a first day is a position in it.

    Raises:
        Invalid: the cursor is none.
        Unavailable.
    """
    first, last = _midnight(asked.since), _midnight(asked.until)
    after = read_cursor(cursor, tuple[datetime, UUID]) or ((first, FIRST_ID) if first else None)
    listed = ListAsked(limit=LIMIT_DEFAULT, skip=0, after=after, upcoming_only=True, search=searched(asked.q or None))
    page = msgspec.json.decode(await showing.page(listed))
    events = [event for event in page["items"] if last is None or instant(event["starts_at"]) < last + DAY]
    return events, page["next_cursor"] if len(events) == len(page["items"]) else None


def _midnight(text: str) -> datetime | None:
    """The begin of a day, None without a valid date."""
    try:
        return datetime.combine(date.fromisoformat(text), time(), tzinfo=UTC)
    except ValueError:
        return None
