"""Events as rows. A suspended event is `paused` in its row, whatever its organizer says.

So nothing sells it that knows no suspension, as the previous release beside this one.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import structs
from sqlalchemy import func

from domain.sales.events import Event
from domain.store.postgres.tables import events

if TYPE_CHECKING:
    from collections.abc import Sequence

SURELY_OVER = timedelta(days=1)
"""So long afterwards an event has begun, or is over, whatever a clock says."""

_COMPUTED = {
    "paused": func.coalesce(events.c.paused_by_organizer, events.c.paused).label("paused"),
    "suspended": events.c.paused_by_organizer.is_not(None).label("suspended"),
}

EVENT_FIELDS = [_COMPUTED[name] if name in _COMPUTED else events.c[name] for name in Event.__struct_fields__]
"""What is read of an event, in the order of its fields."""


def read_event(row: Sequence[Any]) -> Event:
    """A row of `EVENT_FIELDS`."""
    return Event(**dict(zip(Event.__struct_fields__, row, strict=True)))


def event_row(event: Event) -> dict[str, Any]:
    """The columns of an event; `read_event` of them is the event."""
    row = structs.asdict(event)
    suspended = row.pop("suspended")
    return row | {
        "paused": event.paused or suspended,
        "paused_by_organizer": event.paused if suspended else None,
    }
