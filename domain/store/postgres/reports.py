"""Reports: what organizers and admins read about sales and accounts. Read only, from PostgreSQL alone.

The numbers count what PostgreSQL has; a pending booking is counted a moment later.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Text,
    and_,
    case,
    cast,
    extract,
    func,
    literal,
    select,
    true,
    tuple_,
    union_all,
)

from domain.accounts.accounts import AccountStatus, Role
from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.counters import POOL_MAIN
from domain.store.postgres.event_rows import EVENT_FIELDS, read_event
from domain.store.postgres.patterns import ESCAPE, literally
from domain.store.postgres.tables import EVENT_OVER_AT, accounts, audit_log, bookings, events, pools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy.sql.selectable import LateralFromClause, TypedReturnsRows

    from domain.sales.events import Event
    from domain.store.postgres.database import Database

SHOWN = (BookingStatus.CONFIRMED, BookingStatus.CANCELLED)
"""The bookings of a complete guest list; a rejected booking never held a ticket."""

ACTIVE = bookings.c.status == BookingStatus.CONFIRMED
"""Bookings that hold tickets."""

EVENT_STATES = ("upcoming", "past", "cancelled")

STORED_STATUSES = (BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED)
"""The statuses in PostgreSQL, which has no pending bookings."""

_NOT_CLOSED = (accounts.c.status != AccountStatus.CLOSED,)

BOOKINGS_IN_ALL = "in all"
"""The key for the number of bookings of any status. A comparison of 100,000 statuses takes three times as long."""

USERS_BY_ROLE = select(accounts.c.role, func.count()).where(*_NOT_CLOSED).group_by(accounts.c.role)

_STATE = case(
    (events.c.cancelled_at.is_not(None), "cancelled"),
    (func.now() < EVENT_OVER_AT, "upcoming"),
    else_="past",
)

_EVENTS_BY_STATE = select(_STATE, func.count()).group_by(_STATE)

BOOKINGS_ENDED = (
    select(bookings.c.status, func.count())
    .where(bookings.c.status != BookingStatus.CONFIRMED)
    .group_by(bookings.c.status)
)

_BOOKINGS_IN_ALL = select(cast(BOOKINGS_IN_ALL, Text), func.count()).select_from(bookings)


class Guest(Struct, frozen=True):
    """A booking on a guest list."""

    booking_id: UUID
    user_id: UUID
    email: str
    quantity: int
    status: BookingStatus
    created_at: datetime


class GuestsAsked(Struct, frozen=True, kw_only=True):
    """A request for a page of an event's guests after the position `after` (created_at, id).

    Guests are the bookings that hold tickets, with `cancelled_too` also cancelled ones.
    """

    event_id: UUID
    limit: int
    after: tuple[datetime, UUID] | None = None
    cancelled_too: bool = False
    search: str | None = None


class AccountsAsked(Struct, frozen=True, kw_only=True):
    """A request for a page of accounts after the position `after` (created_at, id), with `search` in their address."""

    limit: int
    skip: int = 0
    after: tuple[datetime, UUID] | None = None
    search: str | None = None


class AttendeeRow(Struct, frozen=True):
    """An attendee, with its active bookings and the tickets in them."""

    id: UUID
    email: str
    role: Role
    status: AccountStatus
    created_at: datetime
    booking_count: int
    tickets: int


class OrganizerRow(Struct, frozen=True):
    """An organizer, with its events and the tickets sold for them."""

    id: UUID
    email: str
    role: Role
    status: AccountStatus
    created_at: datetime
    event_count: int
    tickets_sold: int


class UserCounts(Struct, frozen=True):
    """The activity of an account: its bookings and tickets, and its events and the tickets sold for them."""

    booking_count: int
    tickets: int
    event_count: int
    tickets_sold: int


class AuditEntry(Struct, frozen=True):
    """An action: who did it, when, and to whom or what."""

    id: int
    at: datetime
    actor_id: UUID | None
    action: str
    target_id: UUID | None
    detail: dict[str, Any]


class UpcomingAsked(Struct, frozen=True, kw_only=True):
    """A request for a page of bookings of future events, without those in `without`.

    `after` is a position (starts_at, created_at, id).
    """

    now: datetime
    limit: int
    after: tuple[datetime, datetime, UUID] | None
    without: list[UUID]


class SalesOf(Struct, frozen=True):
    """The sales of all events of an organizer, as PostgreSQL has them."""

    events: int
    sold: int
    remaining: int


class CurrentSale(Struct, frozen=True):
    """An event that is not over, and the tickets that its confirmed bookings take."""

    event_id: UUID
    sold: int
    cancelled: bool


class Totals(Struct, frozen=True):
    """The totals of users, events and bookings."""

    users: dict[str, int]
    events: dict[str, int]
    bookings: dict[str, int]


class Reports:
    """Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def guests(self, asked: GuestsAsked) -> list[Guest]:
        """An event's bookings with their accounts, oldest first by (created_at, id)."""
        statement = (
            select(
                bookings.c.id,
                bookings.c.user_id,
                accounts.c.email,
                bookings.c.quantity,
                bookings.c.status,
                bookings.c.created_at,
            )
            .join(accounts, accounts.c.id == bookings.c.user_id)
            .where(
                bookings.c.event_id == asked.event_id,
                bookings.c.status.in_(SHOWN) if asked.cancelled_too else ACTIVE,
                *_with_email(asked.search),
            )
            .order_by(bookings.c.created_at, bookings.c.id)
            .limit(asked.limit)
        )
        if asked.after:
            statement = statement.where(tuple_(bookings.c.created_at, bookings.c.id) > asked.after)
        return [
            Guest(row[0], row[1], row[2], row[3], BookingStatus(row[4]), row[5]) for row in await self._rows(statement)
        ]

    async def attendees(self, asked: AccountsAsked) -> list[AttendeeRow]:
        """Attendees, oldest account first."""
        return [AttendeeRow(*_account(row), row[5], row[6]) for row in await self._rows(_attendees(asked))]

    async def organizers(self, asked: AccountsAsked) -> list[OrganizerRow]:
        """Organizers, oldest account first."""
        return [OrganizerRow(*_account(row), row[5], row[6]) for row in await self._rows(_organizers(asked))]

    async def count_accounts(self, role: Role, *, search: str | None = None) -> int:
        """The number of accounts of a role that are not closed, with `search` in their e-mail address."""
        return int((await self._rows(number_of_accounts(role, search=search)))[0][0])

    async def counts_of(self, account_id: UUID) -> UserCounts:
        """The activity of one account."""
        booked = select(func.count(), _total(bookings.c.quantity)).where(bookings.c.user_id == account_id, ACTIVE)
        organized = (
            select(func.count(events.c.id.distinct()), _total(pools.c.taken))
            .select_from(events.join(pools, pools.c.event_id == events.c.id))
            .where(events.c.organizer_id == account_id)
        )
        (first,), (second,) = await self._rows(booked), await self._rows(organized)
        return UserCounts(first[0], first[1], second[0], second[1])

    async def upcoming_of(self, user_id: UUID, asked: UpcomingAsked) -> list[tuple[datetime, Booking]]:
        """An account's bookings that hold tickets of future events, with the start of the event, soonest first."""
        place = tuple_(events.c.starts_at, bookings.c.created_at, bookings.c.id)
        statement = (
            select(events.c.starts_at, *bookings.c)
            .join(events, events.c.id == bookings.c.event_id)
            .where(bookings.c.user_id == user_id, ACTIVE, *_coming(asked.now), bookings.c.id.not_in(asked.without))
            .order_by(events.c.starts_at, bookings.c.created_at, bookings.c.id)
            .limit(asked.limit)
        )
        if asked.after:
            statement = statement.where(place > asked.after)
        names = [column.name for column in bookings.c]
        return [
            (row[0], Booking(**dict(zip(names, row[1:], strict=True)) | {"status": BookingStatus.CONFIRMED}))
            for row in await self._rows(statement)
        ]

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
            place = tuple_(literal(after[0]), -then if after[0] else then, literal(after[2]))
            statement = statement.where(tuple_(group, order, events.c.id) > place)
        return [read_event(row) for row in await self._rows(statement)]

    async def sales_of(self, organizer_id: UUID) -> SalesOf:
        """The sales of an organizer's events in PostgreSQL; a cancelled event has no remaining tickets."""
        left = case((events.c.cancelled_at.is_(None), pools.c.size - pools.c.taken), else_=0)
        statement = (
            select(func.count(events.c.id.distinct()), _total(pools.c.taken), _total(left))
            .select_from(events.join(pools, pools.c.event_id == events.c.id))
            .where(events.c.organizer_id == organizer_id)
        )
        (row,) = await self._rows(statement)
        return SalesOf(*row)

    async def current_sales_of(self, organizer_id: UUID, *, now: datetime) -> list[CurrentSale]:
        """The organizer's events that are not over, with their sales in PostgreSQL."""
        statement = (
            select(events.c.id, pools.c.taken, events.c.cancelled_at.is_not(None))
            .join(pools, and_(pools.c.event_id == events.c.id, pools.c.counter == POOL_MAIN))
            .where(events.c.organizer_id == organizer_id, now < EVENT_OVER_AT)
        )
        return [CurrentSale(*row) for row in await self._rows(statement)]

    async def events_of(self, organizer_id: UUID, *, limit: int) -> list[Event]:
        """An organizer's events, the latest start first."""
        statement = (
            select(*EVENT_FIELDS)
            .where(events.c.organizer_id == organizer_id)
            .order_by(events.c.starts_at.desc(), events.c.id)
            .limit(limit)
        )
        return [read_event(row) for row in await self._rows(statement)]

    async def sold(self, event_ids: Collection[UUID]) -> dict[UUID, int]:
        """The tickets of confirmed bookings of each event."""
        statement = (
            select(pools.c.event_id, _total(pools.c.taken))
            .where(pools.c.event_id.in_(event_ids))
            .group_by(pools.c.event_id)
        )
        return {row[0]: row[1] for row in await self._rows(statement)}

    async def starts_of(self, event_ids: Collection[UUID], *, now: datetime) -> dict[UUID, datetime]:
        """The starts of events; events that are cancelled or over are left out."""
        statement = select(events.c.id, events.c.starts_at).where(events.c.id.in_(event_ids), *_coming(now))
        return {row[0]: row[1] for row in await self._rows(statement)}

    async def booking_statuses(self, account_id: UUID, *, without: Sequence[UUID]) -> dict[str, int]:
        """The number of an account's bookings in each status, `without` those that are counted elsewhere."""
        statement = (
            select(bookings.c.status, func.count())
            .where(bookings.c.user_id == account_id, bookings.c.id.not_in(without))
            .group_by(bookings.c.status)
        )
        return _counted(STORED_STATUSES, await self._rows(statement))

    async def totals(self) -> Totals:
        """The number of users by role, events by state and bookings by status."""
        return Totals(
            users=_counted(Role, await self._rows(USERS_BY_ROLE)),
            events=_counted(EVENT_STATES, await self._rows(_EVENTS_BY_STATE)),
            bookings=await self._bookings_by_status(),
        )

    async def _bookings_by_status(self) -> dict[str, int]:
        """The ended bookings are counted by their index. The confirmed ones are the remainder in the same snapshot."""
        rows = await self._rows(union_all(BOOKINGS_ENDED, _BOOKINGS_IN_ALL))
        counts = _counted([*STORED_STATUSES, BOOKINGS_IN_ALL], rows)
        in_all = counts.pop(BOOKINGS_IN_ALL)
        return counts | {str(BookingStatus.CONFIRMED): in_all - sum(counts.values())}

    async def audit_log(self, *, limit: int, before: int | None) -> list[AuditEntry]:
        """Entries of the audit log, newest first."""
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit_log.c.id < before)
        return [AuditEntry(**row._mapping) for row in await self._rows(statement)]  # noqa: SLF001  (documented)

    async def _rows(self, statement: TypedReturnsRows[*tuple[Any, ...]]) -> list[Any]:
        async with self._database.connect() as connection:
            return list((await connection.execute(statement)).all())


def _coming(now: datetime) -> tuple[ColumnElement[bool], ...]:
    """Events that are neither cancelled nor over."""
    return events.c.cancelled_at.is_(None), now < EVENT_OVER_AT


def _listed(role: Role, search: str | None) -> list[ColumnElement[bool]]:
    return [accounts.c.role == role, *_NOT_CLOSED, *_with_email(search)]


def _with_email(search: str | None) -> list[ColumnElement[bool]]:
    """Conditions for accounts with `search` in their e-mail address, in any case."""
    return [accounts.c.email.icontains(literally(search), escape=ESCAPE)] if search else []


def number_of_accounts(role: Role, *, search: str | None = None) -> Select[int]:
    """The number of accounts of a role that are not closed, with `search` in their e-mail address."""
    return select(func.count()).select_from(accounts).where(*_listed(role, search))


def page_of_accounts(role: Role, asked: AccountsAsked) -> Select[UUID]:
    """The ids of a page of accounts; of skipped accounts only the index is read."""
    chosen = (
        select(accounts.c.id)
        .where(*_listed(role, asked.search))
        .order_by(accounts.c.created_at, accounts.c.id)
        .limit(asked.limit)
        .offset(asked.skip)
    )
    return chosen.where(tuple_(accounts.c.created_at, accounts.c.id) > asked.after) if asked.after else chosen


def _page_of(role: Role, asked: AccountsAsked) -> Subquery:
    """A page of accounts, selected before anything is counted for them."""
    chosen = page_of_accounts(role, asked).subquery()
    return select(accounts).join(chosen, chosen.c.id == accounts.c.id).subquery()


def _attendees(asked: AccountsAsked) -> Select[*tuple[Any, ...]]:
    page = _page_of(Role.ATTENDEE, asked)
    booked = (
        select(func.count().label("number"), _total(bookings.c.quantity).label("tickets"))
        .where(bookings.c.user_id == page.c.id, ACTIVE)
        .lateral()
    )
    return _with_counts(page, booked)


def _organizers(asked: AccountsAsked) -> Select[*tuple[Any, ...]]:
    page = _page_of(Role.ORGANIZER, asked)
    organized = (
        select(func.count(events.c.id.distinct()).label("number"), _total(pools.c.taken).label("tickets"))
        .select_from(events.join(pools, pools.c.event_id == events.c.id))
        .where(events.c.organizer_id == page.c.id)
        .lateral()
    )
    return _with_counts(page, organized)


def _with_counts(page: Subquery, counted: LateralFromClause) -> Select[*tuple[Any, ...]]:
    return (
        select(page.c.id, page.c.email, page.c.role, page.c.status, page.c.created_at, *counted.c)
        .select_from(page.join(counted, true()))
        .order_by(page.c.created_at, page.c.id)
    )


def _counted(names: Iterable[str], rows: Iterable[Sequence[Any]]) -> dict[str, int]:
    """The count of each name, 0 for names without a row."""
    return {str(name): 0 for name in names} | {row[0]: row[1] for row in rows}


def _total(column: ColumnElement[int]) -> ColumnElement[int]:
    """The sum of a column, 0 without rows."""
    return cast(func.coalesce(func.sum(column), 0), Integer)


def _account(row: Sequence[Any]) -> tuple[UUID, str, Role, AccountStatus, datetime]:
    return row[0], row[1], Role(row[2]), AccountStatus(row[3]), row[4]
