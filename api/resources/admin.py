"""Administration: `/admin`. Each action is written to the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from msgspec import Struct

from api.access.declarations import ADMINS, ANYONE, access
from api.context import process
from api.http.bodies import Body
from api.http.pagination import (
    LIMIT_DEFAULT,
    Cursor,
    EmailSearch,
    Limit,
    Skip,
    cut,
    read_cursor,
    searched,
    write_cursor,
)
from api.resources.auth import COOKIES, SETS_COOKIES, Credentials, count_login, session_response
from api.shapes import AccountState, BookingShown, CountedPage, EventPlain, Page, Profile, Session
from domain.accounts.accounts import AccountStatus, Role
from domain.accounts.tokens import Token, utc_now
from domain.actions.membership import SelfBan
from domain.background.audit import EventBooks, audit
from domain.background.reconciling import reconcile
from domain.kernel.refusals import EventNotFound, InvalidCredentials, LastAdmin, UserNotFound
from domain.store.postgres.reports.administration import (
    AccountsAsked,
    AttendeeRow,
    AuditEntry,
    OrganizerRow,
    UserCounts,
)

DETAILS_MAX = 20
"""The newest bookings and events that a user's details contain."""

Row = TypeVar("Row", AttendeeRow, OrganizerRow)


class RoleChange(Body):
    """The new role of an account."""

    role: Role


class UserDetails(Struct, frozen=True, kw_only=True):
    """An account with its counts and its newest bookings and events."""

    profile: Profile
    status: AccountStatus
    counts: UserCounts
    bookings: list[BookingShown]
    events: list[EventPlain]


class Reconciliation(Struct, frozen=True, kw_only=True):
    """The counts of an event: `capacity` = `remaining` + `pending` + `confirmed` + `drift`."""

    event_id: UUID
    capacity: int
    remaining: int
    pending: int
    confirmed: int
    drift: int
    pool_drift: int

    @classmethod
    def of(cls, books: EventBooks) -> Reconciliation:
        """The counts of an event for admins."""
        return cls(
            event_id=books.event_id,
            capacity=books.size,
            remaining=books.remaining,
            pending=books.pending,
            confirmed=books.confirmed,
            drift=books.drift,
            pool_drift=books.row_drift,
        )


class Repaired(Struct, frozen=True):
    """A difference between Redis and PostgreSQL, and whether it was repaired."""

    fault: str
    subject: str
    found: int
    expected: int
    repair: str
    repaired: bool


class ReconciliationDone(Struct, frozen=True):
    """The differences that a repair found, and the counts after it."""

    repairs: list[Repaired]
    after: Reconciliation


def _asked(q: str | None, limit: int, skip: int, cursor: str | None) -> AccountsAsked:
    """The request for a page of accounts and one more, which shows whether others follow."""
    after = read_cursor(cursor, tuple[datetime, UUID])
    return AccountsAsked(limit=limit + 1, skip=skip, after=after, search=searched(q))


def _page(found: list[Row], *, limit: int, total: int) -> CountedPage[Row]:
    rows, more = cut(found, limit)
    return CountedPage(
        items=rows, next_cursor=write_cursor((rows[-1].created_at, rows[-1].id)) if more else None, total=total
    )


class AdminController(Controller):
    """Administration."""

    path = "/admin"
    tags = ("Administration",)

    @post(
        "/auth/login",
        status_code=200,
        **access(
            ANYONE,
            limit_address="login_address",
            refuses=(InvalidCredentials,),
            reads=COOKIES,
            sends=SETS_COOKIES,
        ),
    )
    async def log_in(self, request: Request[Any, Any, Any], data: JSONBody[Credentials]) -> Response[Session]:
        """Log in as an admin. Other accounts get the same answer as for a wrong password."""
        await count_login(request, data.email)
        logged_in = await process(request).membership.log_in(
            email=data.email, password=data.password, only=frozenset({Role.ADMIN})
        )
        return session_response(request, logged_in, Session.of)

    @get("/users/attendees", **access(ADMINS, limit="admin_read"))
    async def attendees(
        self,
        request: Request[Token, Any, Any],
        q: EmailSearch = None,
        limit: Limit = LIMIT_DEFAULT,
        skip: Skip = 0,
        cursor: Cursor = None,
    ) -> CountedPage[AttendeeRow]:
        """List attendees with their active bookings, oldest account first."""
        reports, asked = process(request).admin_reports, _asked(q, limit, skip, cursor)
        return _page(
            await reports.attendees(asked),
            limit=limit,
            total=await reports.count_accounts(Role.ATTENDEE, search=asked.search),
        )

    @get("/users/organizers", **access(ADMINS, limit="admin_read"))
    async def organizers(
        self,
        request: Request[Token, Any, Any],
        q: EmailSearch = None,
        limit: Limit = LIMIT_DEFAULT,
        skip: Skip = 0,
        cursor: Cursor = None,
    ) -> CountedPage[OrganizerRow]:
        """List organizers with their events and sales, oldest account first."""
        reports, asked = process(request).admin_reports, _asked(q, limit, skip, cursor)
        return _page(
            await reports.organizers(asked),
            limit=limit,
            total=await reports.count_accounts(Role.ORGANIZER, search=asked.search),
        )

    @get("/users/details/{user_id:uuid}", **access(ADMINS, limit="admin_read", refuses=(UserNotFound,)))
    async def details(self, request: Request[Token, Any, Any], user_id: FromPath[UUID]) -> UserDetails:
        """Show an account with its counts and its newest bookings and events."""
        at = process(request)
        account = await at.stores.accounts.find(user_id)
        bookings = await at.stores.box_office.bookings_of(user_id, limit=DETAILS_MAX, before=None)
        events = await at.admin_reports.events_of(user_id, limit=DETAILS_MAX)
        return UserDetails(
            profile=Profile.of(account),
            status=account.status,
            counts=await at.admin_reports.counts_of(user_id),
            bookings=[BookingShown.of(booking) for booking in bookings],
            events=[EventPlain.of(event) for event in events],
        )

    @patch("/users/role/{user_id:uuid}", **access(ADMINS, limit="admin_write", refuses=(UserNotFound, LastAdmin)))
    async def assign_role(
        self, request: Request[Token, Any, Any], user_id: FromPath[UUID], data: JSONBody[RoleChange]
    ) -> Profile:
        """Give an account another role. Its tokens stop working at once."""
        account = await process(request).membership.assign_role(user_id, data.role, caller=request.user.caller)
        return Profile.of(account)

    @delete(
        "/users/{user_id:uuid}",
        status_code=200,
        **access(ADMINS, limit="admin_write", refuses=(UserNotFound, LastAdmin, SelfBan)),
    )
    async def ban(self, request: Request[Token, Any, Any], user_id: FromPath[UUID]) -> AccountState:
        """Ban an account. Its tokens stop working at once and its events are suspended; its bookings stay."""
        account = await process(request).membership.ban(user_id, caller=request.user.caller)
        return AccountState(account.id, account.status)

    @post(
        "/users/{user_id:uuid}/unban",
        status_code=200,
        **access(ADMINS, limit="admin_write", refuses=(UserNotFound,)),
    )
    async def unban(self, request: Request[Token, Any, Any], user_id: FromPath[UUID]) -> AccountState:
        """End a ban. The account can log in again, and its events are no longer suspended.

        Events that the organizer had paused stay paused.
        """
        account = await process(request).membership.unban(user_id, caller=request.user.caller)
        return AccountState(account.id, account.status)

    @get("/audit-log", **access(ADMINS, limit="admin_read"))
    async def audit_log(
        self, request: Request[Token, Any, Any], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[AuditEntry]:
        """List the entries of the audit log, newest first."""
        found = await process(request).admin_reports.audit_log(limit=limit + 1, before=read_cursor(cursor, int))
        entries, more = cut(found, limit)
        return Page(items=entries, next_cursor=write_cursor(entries[-1].id) if more else None)

    @get("/events/{event_id:uuid}/reconciliation", **access(ADMINS, limit="admin_read", refuses=(EventNotFound,)))
    async def reconciliation(self, request: Request[Token, Any, Any], event_id: FromPath[UUID]) -> Reconciliation:
        """Compare the counts of an event in Redis and PostgreSQL. Under load, drift may be a booking in flight."""
        (books,) = await audit(process(request).stores, event_id)
        return Reconciliation.of(books)

    @post(
        "/events/{event_id:uuid}/reconciliation",
        status_code=200,
        **access(ADMINS, limit="admin_write", refuses=(EventNotFound,)),
    )
    async def repair(self, request: Request[Token, Any, Any], event_id: FromPath[UUID]) -> ReconciliationDone:
        """Repair the counts of an event now. Only differences that two readings agree on are repaired."""
        stores = process(request).stores
        await stores.events.find(event_id)
        outcomes = await reconcile(stores, event_id)
        (books,) = await audit(stores, event_id)
        await stores.accounts.note(
            actor_id=request.user.account_id,
            action="event.reconciled",
            target_id=event_id,
            now=utc_now(),
            differences=len(outcomes),
        )
        repairs = [
            Repaired(
                outcome.difference.fault,
                outcome.difference.subject,
                outcome.difference.found,
                outcome.difference.expected,
                outcome.difference.repair,
                outcome.repaired,
            )
            for outcome in outcomes
        ]
        return ReconciliationDone(repairs, Reconciliation.of(books))
