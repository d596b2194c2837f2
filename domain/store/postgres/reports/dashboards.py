"""Dashboards: an attendee's bookings, and an organizer's events and sales. Read only, from PostgreSQL alone.

The numbers count what PostgreSQL has; a pending booking is counted a moment later.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    and_,
    case,
    extract,
    func,
    literal,
    or_,
    select,
    tuple_,
)

from domain.kernel.bookings import Booking, BookingStatus
from domain.store.postgres.events.rows import EVENT_FIELDS, read_event
from domain.store.postgres.ledger import BOOKING_COLUMNS
from domain.store.postgres.reports.counts import (
    ACTIVE,
    HELD,
    REVENUE_MINOR,
    ROOM_OF_EVENT,
    SOLD,
    STATUS_NOW,
    STORED_STATUSES,
    by_currency,
    counted,
    total,
)
from domain.store.postgres.tables import EVENT_OVER_AT, bookings, counters, events

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from domain.sales.events import Event
    from domain.store.postgres.database import Database


class UpcomingAsked(Struct, frozen=True, kw_only=True):
    """A request for a page of bookings of future events, without those in `without`.

    `after` is a position (starts_at, created_at, id).
    """

    now: datetime
    limit: int
    after: tuple[datetime, datetime, UUID] | None
    without: list[UUID]


class SalesOf(Struct, frozen=True):
    """The sales of all events of an organizer, as PostgreSQL has them. `revenue_minor` is by currency."""

    events: int
    sold: int
    remaining: int
    revenue_minor: dict[str, int]


class EventSale(Struct, frozen=True):
    """The sale of an event, as PostgreSQL has it: `sold` tickets are confirmed, and `held` tickets are on hold.

    `taken` is what both take of the counter of the event's tickets.
    """

    event_id: UUID
    sold: int
    held: int
    taken: int
    revenue_minor: int
    cancelled: bool


class Dashboards:
    """The dashboards of attendees and organizers. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def upcoming_of(self, user_id: UUID, asked: UpcomingAsked) -> list[tuple[datetime, Booking]]:
        """An account's bookings that hold tickets of future events, with the start of the event, soonest first."""
        holds = or_(ACTIVE, and_(bookings.c.status == BookingStatus.HELD, bookings.c.due_at > asked.now))
        position = tuple_(events.c.starts_at, bookings.c.created_at, bookings.c.id)
        statement = (
            select(events.c.starts_at, *BOOKING_COLUMNS)
            .join(events, events.c.id == bookings.c.event_id)
            .where(bookings.c.user_id == user_id, holds, *_coming(asked.now), bookings.c.id.not_in(asked.without))
            .order_by(events.c.starts_at, bookings.c.created_at, bookings.c.id)
            .limit(asked.limit)
        )
        if asked.after:
            statement = statement.where(position > asked.after)
        rows = await self._database.rows(statement)
        found = [(row[0], dict(zip(Booking.__struct_fields__, row[1:], strict=True))) for row in rows]
        return [(starts_at, Booking(**each | {"status": BookingStatus(each["status"])})) for starts_at, each in found]

    async def programme_of(
        self, organizer_id: UUID, *, now: datetime, limit: int, after: tuple[int, datetime, UUID] | None
    ) -> list[Event]:
        """An organizer's events: future ones, soonest first, then past or cancelled ones, latest first.

        `after` is a position (0 for future or 1, starts_at, id); `now` decides between future and past.
        """
        to_come, start = and_(*_coming(now)), extract("epoch", events.c.starts_at)
        group, order = case((to_come, 0), else_=1), case((to_come, start), else_=-start)
        statement = (
            select(*EVENT_FIELDS)
            .where(events.c.organizer_id == organizer_id)
            .order_by(group, order, events.c.id)
            .limit(limit)
        )
        if after:
            then = extract("epoch", literal(after[1], events.c.starts_at.type))
            position = tuple_(literal(after[0]), -then if after[0] else then, literal(after[2]))
            statement = statement.where(tuple_(group, order, events.c.id) > position)
        return [read_event(row) for row in await self._database.rows(statement)]

    async def sales_of(self, organizer_id: UUID) -> SalesOf:
        """The sales of an organizer's events in PostgreSQL; a cancelled event has no remaining tickets."""
        left = case((events.c.cancelled_at.is_(None), counters.c.size - counters.c.taken), else_=0)
        statement = (
            select(events.c.currency, func.sum(REVENUE_MINOR), func.count(), total(SOLD), total(left))
            .select_from(events.join(counters, ROOM_OF_EVENT))
            .where(events.c.organizer_id == organizer_id)
            .group_by(events.c.currency)
        )
        rows = await self._database.rows(statement)
        number, sold, remaining = (sum(row[column] for row in rows) for column in (2, 3, 4))
        return SalesOf(number, sold, remaining, by_currency(rows))

    async def current_sales_of(self, organizer_id: UUID, *, now: datetime) -> list[EventSale]:
        """The sales of the organizer's events that are not over."""
        return await self._sales(events.c.organizer_id == organizer_id, now < EVENT_OVER_AT)

    async def sales_of_events(self, event_ids: Collection[UUID]) -> dict[UUID, EventSale]:
        """The sale of each event."""
        return {sale.event_id: sale for sale in await self._sales(events.c.id.in_(event_ids))}

    async def _sales(self, *conditions: ColumnElement[bool]) -> list[EventSale]:
        cancelled = events.c.cancelled_at.is_not(None)
        statement = (
            select(events.c.id, SOLD, HELD, counters.c.taken, REVENUE_MINOR, cancelled)
            .join(counters, ROOM_OF_EVENT)
            .where(*conditions)
        )
        return [EventSale(*row) for row in await self._database.rows(statement)]

    async def starts_of(self, event_ids: Collection[UUID], *, now: datetime) -> dict[UUID, datetime]:
        """The starts of events; events that are cancelled or over are left out."""
        statement = select(events.c.id, events.c.starts_at).where(events.c.id.in_(event_ids), *_coming(now))
        return {row[0]: row[1] for row in await self._database.rows(statement)}

    async def booking_statuses(self, account_id: UUID, *, without: Sequence[UUID]) -> dict[str, int]:
        """The number of an account's bookings in each status, `without` those that are counted elsewhere."""
        statement = (
            select(STATUS_NOW, func.count())
            .where(bookings.c.user_id == account_id, bookings.c.id.not_in(without))
            .group_by(STATUS_NOW)
        )
        return counted(STORED_STATUSES, await self._database.rows(statement))


def _coming(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Events that are neither cancelled nor over."""
    return events.c.cancelled_at.is_(None), now < EVENT_OVER_AT
