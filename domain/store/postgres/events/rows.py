"""Events as rows. The row of a suspended event is `paused`, whatever its organizer has set.

So code that does not know suspensions, such as a previous release that runs beside this one, does not sell it.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import structs
from sqlalchemy import ColumnElement, case, func, literal_column, null, select, text, type_coerce
from sqlalchemy.dialects.postgresql import JSONB

from domain.sales.events import Event, Payment, RefundPolicy
from domain.sales.ticket_types import Catalogue
from domain.store.postgres.tables import counters, events, promo_codes, ticket_pools, ticket_types

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Table

    from domain.sales.ticket_types import TicketType

SURELY_OVER = timedelta(days=1)
"""The margin after which an event has certainly begun, or is certainly over, also with wrong clocks."""


def _of_counters(column: ColumnElement[Any], *, only: ColumnElement[bool] | None = None) -> ColumnElement[Any]:
    """A column of an event's counters, by counter."""
    where = [counters.c.event_id == events.c.id] + ([] if only is None else [only])
    found = select(func.jsonb_object_agg(counters.c.counter, column)).where(*where).scalar_subquery()
    return type_coerce(func.coalesce(found, text("'{}'::jsonb")), JSONB)


def _listed(table: Table, *, order: Sequence[ColumnElement[Any]], current: bool = False) -> ColumnElement[Any]:
    """The rows that an event has in a table, as JSON; with `current`, without those that are archived."""
    where = [table.c.event_id == events.c.id] + ([table.c.archived_at.is_(None)] if current else [])
    chosen = select(table).where(*where).order_by(*order).correlate(events).subquery("listed")
    found = select(func.jsonb_agg(func.to_jsonb(literal_column(chosen.name))))
    return func.coalesce(found.select_from(chosen).scalar_subquery(), text("'[]'::jsonb"))


_CATALOGUE = case(
    (
        events.c.typed,
        func.jsonb_build_object(
            text("'types'"),
            _listed(ticket_types, order=[ticket_types.c.position, ticket_types.c.created_at], current=True),
            text("'pools'"),
            _listed(ticket_pools, order=[ticket_pools.c.created_at]),
            text("'codes'"),
            _listed(promo_codes, order=[promo_codes.c.created_at], current=True),
        ),
    ),
    else_=null(),
)
EVERY_TYPE = func.jsonb_build_object(
    text("'types'"),
    _listed(ticket_types, order=[ticket_types.c.position]),
    text("'pools'"),
    _listed(ticket_pools, order=[ticket_pools.c.created_at]),
)
"""The ticket types of an event, also those that are archived, and its pools, for `read_catalogue`."""

_NO_COUNTERS = type_coerce(text("'{}'::jsonb"), JSONB)
_NO_CATALOGUE = type_coerce(text("NULL::jsonb"), JSONB)

_PAYMENTS = {each.value: each for each in Payment}
_POLICIES = {each.value: each for each in RefundPolicy}

_COMPUTED = {
    "catalogue": type_coerce(_CATALOGUE, JSONB).label("catalogue"),
    "paused": func.coalesce(events.c.paused_by_organizer, events.c.paused).label("paused"),
    "suspended": events.c.paused_by_organizer.is_not(None).label("suspended"),
    "counters": _of_counters(counters.c.size).label("counters"),
    "gates": _of_counters(counters.c.gate, only=counters.c.gate.is_not(None)).label("gates"),
}

EVENT_FIELDS = [_COMPUTED[name] if name in _COMPUTED else events.c[name] for name in Event.__struct_fields__]
"""The columns of an event, in the order of its fields."""

LISTED_FIELDS = [
    {"counters": _NO_COUNTERS, "gates": _NO_COUNTERS, "catalogue": _NO_CATALOGUE}.get(name, column).label(name)
    for name, column in zip(Event.__struct_fields__, EVENT_FIELDS, strict=True)
]
"""The same columns for lists, without counters and catalogue: an event may have thousands of promo codes."""


def read_catalogue(found: object) -> Catalogue:
    """A catalogue that was read as JSON."""
    return msgspec.convert(found, Catalogue)


def read_event(row: Sequence[Any]) -> Event:
    """A row of `EVENT_FIELDS` or `LISTED_FIELDS`."""
    fields = dict(zip(Event.__struct_fields__, row, strict=True))
    fields["payment"], fields["refund_on_owner_cancel"] = (
        _PAYMENTS[fields["payment"]],
        _POLICIES[fields["refund_on_owner_cancel"]],
    )
    if fields["catalogue"] is not None:
        fields["catalogue"] = read_catalogue(fields["catalogue"])
    return Event(**fields)


def event_row(event: Event) -> dict[str, Any]:
    """The columns of an event; the inverse of `read_event`."""
    row = structs.asdict(event)
    suspended = row.pop("suspended")
    del row["counters"], row["gates"], row["catalogue"]
    return row | {
        "typed": event.catalogue is not None,
        "paused": event.paused or suspended,
        "paused_by_organizer": event.paused if suspended else None,
    }


def type_row(ticket_type: TicketType) -> dict[str, Any]:
    """The columns of a ticket type."""
    return structs.asdict(ticket_type) | {"pools": list(ticket_type.pools)}
