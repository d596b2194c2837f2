"""Events as rows. The row of a suspended event is `paused`, whatever its organizer has set.

So code that does not know suspensions, such as a previous release that runs beside this one, does not sell it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from msgspec import structs
from sqlalchemy import ColumnElement, func, select, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from domain.sales.events import Event
from domain.store.postgres.tables import counters, events

if TYPE_CHECKING:
    from collections.abc import Sequence

SURELY_OVER = timedelta(days=1)
"""The margin after which an event has certainly begun, or is certainly over, also with wrong clocks."""


def _of_counters(column: ColumnElement[Any], *, only: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    """A column of an event's counters, by counter."""
    where = [counters.c.event_id == events.c.id] + ([] if only is None else [only])
    found = select(func.jsonb_object_agg(counters.c.counter, column)).where(*where).scalar_subquery()
    return type_coerce(func.coalesce(found, text("'{}'::jsonb")), JSONB)


_COMPUTED = {
    "paused": func.coalesce(events.c.paused_by_organizer, events.c.paused).label("paused"),
    "suspended": events.c.paused_by_organizer.is_not(None).label("suspended"),
    "counters": _of_counters(counters.c.size).label("counters"),
    "gates": _of_counters(counters.c.gate, only=counters.c.gate.is_not(None)).label("gates"),
}

EVENT_FIELDS = [_COMPUTED[name] if name in _COMPUTED else events.c[name] for name in Event.__struct_fields__]
"""The columns of an event, in the order of its fields."""


def read_event(row: Sequence[Any]) -> Event:
    """A row of `EVENT_FIELDS`."""
    return Event(**dict(zip(Event.__struct_fields__, row, strict=True)))


def event_row(event: Event) -> dict[str, Any]:
    """The columns of an event; the inverse of `read_event`."""
    row = structs.asdict(event)
    suspended = row.pop("suspended")
    del row["counters"], row["gates"]
    return row | {
        "paused": event.paused or suspended,
        "paused_by_organizer": event.paused if suspended else None,
    }
