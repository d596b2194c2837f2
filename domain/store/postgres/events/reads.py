"""Lists and single events, read from PostgreSQL, which is the truth of them. Read only."""

from __future__ import annotations

from datetime import timedelta
from enum import Enum
from functools import cache, reduce
from operator import add
from typing import TYPE_CHECKING, Any

from msgspec import Struct, structs
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    and_,
    bindparam,
    func,
    not_,
    null,
    or_,
    select,
    true,
    tuple_,
    type_coerce,
    union_all,
)
from sqlalchemy.dialects.postgresql import JSONB

from domain.accounts.accounts import SELLERS, AccountStatus
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import EventNotFound
from domain.sales.events import Event
from domain.sales.search_text import fold
from domain.sales.ticket_types import general_admission
from domain.store.postgres.events.rows import (
    EVENT_FIELDS,
    EVERY_TYPE,
    LISTED_FIELDS,
    SURELY_OVER,
    read_catalogue,
    read_event,
)
from domain.store.postgres.patterns import ESCAPE, literally
from domain.store.postgres.tables import EVENT_OVER_AT, EVENT_SPAN, accounts, events

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Select

    from domain.sales.ticket_types import CatalogueIndex
    from domain.store.postgres.database import Database

_SUSPENDED = events.c.paused_by_organizer.is_not(None)

_SELLS = and_(accounts.c.status == AccountStatus.ACTIVE, accounts.c.role.in_(sorted(SELLERS)))
"""Whether an account's events may be sold: `Account.sells` in SQL."""

FIND_EVENT = select(*EVENT_FIELDS).where(events.c.id == bindparam("event_id"))
_FIND_LISTED = select(*LISTED_FIELDS).where(events.c.id == bindparam("event_id"))

_FILTERS: dict[str, ColumnElement[bool]] = {
    "starting_after": events.c.starts_at > bindparam("starting_after"),
    "organizer_id": events.c.organizer_id == bindparam("organizer_id"),
    "series_id": events.c.series_id == bindparam("series_id"),
    "search": or_(
        *(
            column.contains(bindparam("search"), escape=ESCAPE)
            for column in (events.c.title_folded, events.c.location_folded)
        )
    ),
}
"""The filters of a list of events, by the name of their value."""

_SALES_END_AT = func.coalesce(events.c.sales_close_at, events.c.starts_at)
_SALES_GO_ON = func.now() - SURELY_OVER < _SALES_END_AT
_STANDS = events.c.cancelled_at.is_(None)


class RefillTurn(Enum):
    """The turns in which a rebuild refills events: first those on sale, then those that will be, then the rest."""

    ON_SALE = "on sale"
    TO_COME = "to come"
    ANY = "any"


OPENS_SOON = timedelta(minutes=5)
"""How soon sales must open for an event to be refilled with those on sale. A rebuild takes seconds."""

_SELLS_LATER = and_(_STANDS, func.now() < _SALES_END_AT)

_TURNS: dict[RefillTurn, ColumnElement[bool]] = {
    RefillTurn.ON_SALE: and_(
        _SELLS_LATER,
        not_(events.c.paused),
        func.coalesce(events.c.sales_open_at, func.now()) <= func.now() + OPENS_SOON,
    ),
    RefillTurn.TO_COME: _SELLS_LATER,
    RefillTurn.ANY: true(),
}
"""The events of each turn. Those of the turns before are among them."""

_MAY_BE: dict[EventStatus, ColumnElement[bool]] = {
    EventStatus.CANCELLED: events.c.cancelled_at.is_not(None),
    EventStatus.CLOSED: and_(_STANDS, func.now() + SURELY_OVER > _SALES_END_AT),
    EventStatus.PAUSED: and_(_STANDS, _SALES_GO_ON, events.c.paused),
    EventStatus.SCHEDULED: and_(
        _STANDS, _SALES_GO_ON, not_(events.c.paused), events.c.sales_open_at > func.now() - SURELY_OVER
    ),
    EventStatus.ON_SALE: and_(_STANDS, _SALES_GO_ON, not_(events.c.paused)),
    EventStatus.SOLD_OUT: and_(_STANDS, _SALES_GO_ON, not_(events.c.paused)),
}
"""The events that may have a status. The tickets left and Redis' clock decide which of them have it."""

_ORDER = (events.c.starts_at, events.c.id)

_BEGUN = EVENT_SPAN.op("@>")(bindparam("not_over_at", type_=DateTime(timezone=True)))
_TO_COME = events.c.starts_at > bindparam("not_over_at", type_=DateTime(timezone=True))
"""The two parts of a list of events that are not over. Each has an index, so no event that is over is read."""

_AFTER = tuple_(events.c.starts_at, events.c.id) > tuple_(bindparam("after_start"), bindparam("after_id"))


class EventPage(Struct, frozen=True):
    """A page of a list of events, and the length of the list; None when it was not counted."""

    events: list[Event]
    total: int | None


class EventReads:
    """Events as PostgreSQL has them. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, event_id: UUID) -> Event:
        """An event, cancelled or not; raises EventNotFound."""
        async with self._database.connect() as connection:
            row = (await connection.execute(FIND_EVENT, {"event_id": event_id})).one_or_none()
        if row is None:
            raise event_not_found()
        return read_event(row)

    async def booked_types(self, event_id: UUID) -> CatalogueIndex:
        """The ticket types that bookings of an event can have, also those that are archived, and its pools.

        Those whose rows were written later than their bookings: the general type of an event without others.
        """
        statement = select(events.c.created_at, type_coerce(EVERY_TYPE, JSONB)).where(events.c.id == event_id)
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).one_or_none()
        if row is None:
            raise event_not_found()
        catalogue = read_catalogue(row[1])
        general = general_admission(event_id, row[0])
        return structs.replace(catalogue, types=(general, *catalogue.types)).index()

    async def find_listed(self, event_id: UUID) -> Event:
        """An event as lists have it, without its counters and its catalogue; raises EventNotFound."""
        async with self._database.connect() as connection:
            row = (await connection.execute(_FIND_LISTED, {"event_id": event_id})).one_or_none()
        if row is None:
            raise event_not_found()
        return read_event(row)

    async def page(  # noqa: PLR0913  (the filters a list of events has)
        self,
        *,
        limit: int,
        skip: int = 0,
        after: tuple[datetime, UUID] | None = None,
        starting_after: datetime | None = None,
        not_over_at: datetime | None = None,
        search: str | None = None,
        organizer_id: UUID | None = None,
        series_id: UUID | None = None,
        cancelled_too: bool = False,
        may_be: EventStatus | None = None,
        counted: bool = True,
    ) -> EventPage:
        """A page of events, soonest first by (starts_at, id); with `counted`, also their number.

        The cost of a page does not depend on the length of the list; the cost of counting does. `may_be` selects the
        events whose rows allow the status; not all of them have it.
        """
        values = {
            "after_start": after and after[0],
            "after_id": after and after[1],
            "starting_after": starting_after,
            "not_over_at": not_over_at,
            "search": search and literally(fold(search)),
            "organizer_id": organizer_id,
            "series_id": series_id,
        }
        given = {name: value for name, value in values.items() if value is not None}
        bounds = {"limit": limit, "skip": skip}
        async with self._database.connect() as connection:
            statement = _page(frozenset(given), counted=counted, cancelled_too=cancelled_too, may_be=may_be)
            rows = (await connection.execute(statement, given | bounds)).all()
        found = [read_event(row[1:]) for row in rows if row[1] is not None]
        return EventPage(found, rows[0][0] if counted else None)

    async def find_all(self, event_ids: Sequence[UUID]) -> dict[UUID, Event]:
        """The events that exist among these ids, cancelled or not."""
        statement = select(*EVENT_FIELDS).where(events.c.id.in_(event_ids))
        async with self._database.connect() as connection:
            return {row.id: read_event(row) for row in await connection.execute(statement)}

    async def number(self) -> int:
        """The number of events that have counters, cancelled ones included."""
        statement = select(func.count()).select_from(events).where(events.c.closed_at.is_(None))
        async with self._database.connect() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def after(self, event_id: UUID | None, *, limit: int, closed: bool = False) -> list[Event]:
        """A page of the events that have counters, in order of id: for rebuild and reconciliation.

        With `closed`, a page of all events: for an audit.
        """
        statement = select(*EVENT_FIELDS).order_by(events.c.id).limit(limit)
        if not closed:
            statement = statement.where(events.c.closed_at.is_(None))
        if event_id:
            statement = statement.where(events.c.id > event_id)
        async with self._database.connect() as connection:
            return [read_event(row) for row in await connection.execute(statement)]

    async def to_refill(self, turn: RefillTurn, *, after: UUID | None, limit: int) -> list[Event]:
        """A page of the events that have counters and are refilled in this turn or before, in order of id."""
        statement = select(*EVENT_FIELDS).where(events.c.closed_at.is_(None), _TURNS[turn])
        if after:
            statement = statement.where(events.c.id > after)
        async with self._database.connect() as connection:
            rows = await connection.execute(statement.order_by(events.c.id).limit(limit))
            return [read_event(row) for row in rows]

    async def with_counters(self, *, after: UUID | None, limit: int) -> list[UUID]:
        """A page of the ids of events that have counters, in order."""
        statement = select(events.c.id).where(events.c.closed_at.is_(None)).order_by(events.c.id).limit(limit)
        if after:
            statement = statement.where(events.c.id > after)
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def uncleared(self, *, limit: int) -> list[UUID]:
        """Cancelled events whose bookings may still hold tickets."""
        statement = (
            select(events.c.id)
            .where(events.c.cancelled_at.is_not(None), events.c.cleared_at.is_(None))
            .order_by(events.c.cancelled_at)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def behind_organizer(self, organizer_id: UUID, *, after: UUID | None, limit: int) -> list[UUID]:
        """The organizer's events whose suspension does not match the organizer's right to sell, in order of id."""
        statement = (
            select(events.c.id)
            .join(accounts, accounts.c.id == events.c.organizer_id)
            .where(
                events.c.organizer_id == organizer_id,
                events.c.cancelled_at.is_(None),
                func.now() - SURELY_OVER < EVENT_OVER_AT,
                or_(and_(_SUSPENDED, _SELLS), and_(not_(_SUSPENDED), not_(_SELLS))),
            )
            .order_by(events.c.id)
            .limit(limit)
        )
        if after:
            statement = statement.where(events.c.id > after)
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).scalars())

    async def without_counters(self, event_ids: Sequence[UUID]) -> list[UUID]:
        """The ids whose event has no counters in Redis: it is closed, or there is no such event."""
        if not event_ids:
            return []
        statement = select(events.c.id).where(events.c.id.in_(event_ids), events.c.closed_at.is_(None))
        async with self._database.connect() as connection:
            counted = set((await connection.execute(statement)).scalars())
        return [event_id for event_id in event_ids if event_id not in counted]


@cache
def _page(
    given: frozenset[str], *, counted: bool, cancelled_too: bool, may_be: EventStatus | None
) -> Select[*tuple[Any, ...]]:
    """The statement for a page and the length of the list. It is built once per set of given values.

    The first column is the length. When it is counted, an empty page is one row without an event.
    """
    standing: list[ColumnElement[bool]] = [] if cancelled_too else [_STANDS]
    if may_be:
        standing = [_MAY_BE[may_be]]
    filters = and_(true(), *standing, *(_FILTERS[name] for name in sorted(given & _FILTERS.keys())))
    parts = [and_(filters, part) for part in (_BEGUN, _TO_COME)] if "not_over_at" in given else [filters]
    limit, skip = bindparam("limit", type_=Integer), bindparam("skip", type_=Integer)
    after = [_AFTER] if "after_start" in given else []
    found = union_all(
        *(
            select(select(*LISTED_FIELDS).where(part, *after).order_by(*_ORDER).limit(limit + skip).subquery())
            for part in parts
        )
    ).subquery()
    page = select(found).order_by(found.c.starts_at, found.c.id).limit(limit).offset(skip).subquery()
    if not counted:
        return select(null(), *page.c).order_by(page.c.starts_at, page.c.id)
    lengths = [select(func.count()).select_from(events).where(part).scalar_subquery() for part in parts]
    length = select(reduce(add, lengths).label("total")).subquery()
    return (
        select(length.c.total, *page.c)
        .select_from(length.outerjoin(page, true()))
        .order_by(page.c.starts_at, page.c.id)
    )


def event_not_found() -> EventNotFound:
    """The refusal for an id without an event."""
    return EventNotFound("There is no event with this id.")
