"""What admins read: accounts with their activity, totals and the audit log. Read only, from PostgreSQL alone.

The numbers count what PostgreSQL has; a pending booking is counted a moment later.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    Text,
    case,
    cast,
    func,
    select,
    true,
    tuple_,
    union_all,
)

from domain.accounts.accounts import AccountStatus, Role
from domain.kernel.bookings import BookingStatus
from domain.store.postgres.events.rows import EVENT_FIELDS, read_event
from domain.store.postgres.reports.counts import (
    ACTIVE,
    REVENUE_MINOR,
    ROOM_OF_EVENT,
    SOLD,
    STORED_STATUSES,
    by_currency,
    counted,
    total,
    with_email,
)
from domain.store.postgres.tables import EVENT_OVER_AT, accounts, audit_log, bookings, counters, events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.sql.selectable import LateralFromClause

    from domain.sales.events import Event
    from domain.store.postgres.database import Database

EVENT_STATES = ("upcoming", "past", "cancelled")

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
    """The activity of an account: its bookings and tickets, and its events and the tickets sold for them.

    `revenue_minor` is what those were sold for, by currency, in minor units.
    """

    booking_count: int
    tickets: int
    event_count: int
    tickets_sold: int
    revenue_minor: dict[str, int]


class AuditEntry(Struct, frozen=True):
    """An action: who did it, when, and to whom or what."""

    id: int
    at: datetime
    actor_id: UUID | None
    action: str
    target_id: UUID | None
    detail: dict[str, Any]


class Totals(Struct, frozen=True):
    """The totals of users, events and bookings."""

    users: dict[str, int]
    events: dict[str, int]
    bookings: dict[str, int]


class AdminReports:
    """The reports of admins. Every method raises Unavailable when PostgreSQL cannot be asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def attendees(self, asked: AccountsAsked) -> list[AttendeeRow]:
        """Attendees, oldest account first."""
        return [AttendeeRow(*_account(row), row[5], row[6]) for row in await self._database.rows(_attendees(asked))]

    async def organizers(self, asked: AccountsAsked) -> list[OrganizerRow]:
        """Organizers, oldest account first."""
        return [OrganizerRow(*_account(row), row[5], row[6]) for row in await self._database.rows(_organizers(asked))]

    async def count_accounts(self, role: Role, *, search: str | None = None) -> int:
        """The number of accounts of a role that are not closed, with `search` in their e-mail address."""
        return int((await self._database.rows(number_of_accounts(role, search=search)))[0][0])

    async def counts_of(self, account_id: UUID) -> UserCounts:
        """The activity of one account."""
        booked = select(func.count(), total(bookings.c.quantity)).where(bookings.c.user_id == account_id, ACTIVE)
        organized = (
            select(events.c.currency, func.sum(REVENUE_MINOR), func.count(), total(SOLD))
            .select_from(events.join(counters, ROOM_OF_EVENT))
            .where(events.c.organizer_id == account_id)
            .group_by(events.c.currency)
        )
        (own,), rows = await self._database.rows(booked), await self._database.rows(organized)
        return UserCounts(own[0], own[1], sum(row[2] for row in rows), sum(row[3] for row in rows), by_currency(rows))

    async def events_of(self, organizer_id: UUID, *, limit: int) -> list[Event]:
        """An organizer's events, the latest start first."""
        statement = (
            select(*EVENT_FIELDS)
            .where(events.c.organizer_id == organizer_id)
            .order_by(events.c.starts_at.desc(), events.c.id)
            .limit(limit)
        )
        return [read_event(row) for row in await self._database.rows(statement)]

    async def totals(self) -> Totals:
        """The number of users by role, events by state and bookings by status."""
        return Totals(
            users=counted(Role, await self._database.rows(USERS_BY_ROLE)),
            events=counted(EVENT_STATES, await self._database.rows(_EVENTS_BY_STATE)),
            bookings=await self._bookings_by_status(),
        )

    async def _bookings_by_status(self) -> dict[str, int]:
        """The ended bookings are counted by their index. The confirmed ones are the remainder in the same snapshot."""
        rows = await self._database.rows(union_all(BOOKINGS_ENDED, _BOOKINGS_IN_ALL))
        counts = counted([*STORED_STATUSES, BOOKINGS_IN_ALL], rows)
        in_all = counts.pop(BOOKINGS_IN_ALL)
        return counts | {str(BookingStatus.CONFIRMED): in_all - sum(counts.values())}

    async def audit_log(self, *, limit: int, before: int | None) -> list[AuditEntry]:
        """Entries of the audit log, newest first."""
        statement = select(audit_log).order_by(audit_log.c.id.desc()).limit(limit)
        if before is not None:
            statement = statement.where(audit_log.c.id < before)
        return [AuditEntry(**row._mapping) for row in await self._database.rows(statement)]  # noqa: SLF001  (documented)


def _listed(role: Role, search: str | None) -> list[ColumnElement[bool]]:
    return [accounts.c.role == role, *_NOT_CLOSED, *with_email(search)]


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
        select(func.count().label("number"), total(bookings.c.quantity).label("tickets"))
        .where(bookings.c.user_id == page.c.id, ACTIVE)
        .lateral()
    )
    return _with_counts(page, booked)


def _organizers(asked: AccountsAsked) -> Select[*tuple[Any, ...]]:
    page = _page_of(Role.ORGANIZER, asked)
    organized = (
        select(func.count(events.c.id.distinct()).label("number"), total(SOLD).label("tickets"))
        .select_from(events.join(counters, ROOM_OF_EVENT))
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


def _account(row: Sequence[Any]) -> tuple[UUID, str, Role, AccountStatus, datetime]:
    return row[0], row[1], Role(row[2]), AccountStatus(row[3]), row[4]
