"""The caller's dashboard: `/dashboard`."""

from __future__ import annotations

from asyncio import gather
from collections import Counter
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, get
from litestar.params import QueryParameter
from msgspec import Struct

from api.access.declarations import EVERYBODY, access
from api.context import Process, process
from api.http.pagination import LIMIT_MAX, Cursor, Limit, cut, read_cursor, write_cursor
from api.shapes import BookingShown, EventShown
from domain.accounts.accounts import Role
from domain.accounts.tokens import Token, utc_now
from domain.kernel.bookings import HOLDING, BookingStatus, as_of
from domain.kernel.times import to_ms
from domain.store.postgres.reports.dashboards import UpcomingAsked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from domain.kernel.bookings import Booking
    from domain.kernel.event_status import EventStatus
    from domain.sales.events import Event
    from domain.store.postgres.reports.dashboards import EventSale

EVENTS_PER_READ = 1_000
"""Events whose counters are read at once."""


class View(StrEnum):
    """Which dashboard an account asks for."""

    ROLE = "role"
    ATTENDEE = "attendee"


DashboardView = Annotated[
    View,
    QueryParameter(
        description="`role`: the dashboard of the caller's role; `attendee`: the caller's own bookings, for every role."
    ),
]


class Asked(Struct, frozen=True):
    """The requested page of a dashboard."""

    limit: int
    cursor: str | None


class AttendeeDashboard(Struct, frozen=True):
    """Bookings that hold tickets of events that are not over, soonest first, and the number of bookings by status."""

    upcoming: list[BookingShown]
    counts: dict[str, int]
    next_cursor: str | None


class EventSales(Struct, frozen=True):
    """The sales of an event: `sold` tickets are confirmed, `held` tickets are on hold or pending.

    `revenue_minor` is what the sold tickets cost, in minor units of the event's currency. `refused` are the requests of
    the last hour that got none, by the problem's code.
    """

    event: EventShown
    sold: int
    held: int
    remaining: int
    revenue_minor: int
    refused: dict[str, int]


class SalesTotals(Struct, frozen=True):
    """The sums over all events of an organizer. A cancelled event has no remaining tickets.

    `held` and `refused` only count events that are not over. `revenue_minor` is by currency, in minor units.
    """

    events: int
    sold: int
    held: int
    remaining: int
    revenue_minor: dict[str, int]
    refused: dict[str, int]


class OrganizerDashboard(Struct, frozen=True):
    """The organizer's events and the totals of all of them.

    Future events are first, soonest first. Events that are over or cancelled follow, latest first.
    """

    events: list[EventSales]
    totals: SalesTotals
    next_cursor: str | None


class QueueState(Struct, frozen=True):
    """The changes that wait to be persisted: the age of the oldest, and their number."""

    persist_lag_ms: int
    depth: int


class AdminDashboard(Struct, frozen=True):
    """Totals of users, events and bookings, and the state of the inventory.

    `drift` is the number of tickets in differences of the last minute that could not be repaired.
    """

    users: dict[str, int]
    events: dict[str, int]
    bookings: dict[str, int]
    queue: QueueState
    drift: int


DRIFT_SHOWN_FOR = timedelta(minutes=1)
"""Reconciliation reports differences that remain again every few seconds."""

Dashboard = AttendeeDashboard | OrganizerDashboard | AdminDashboard


class DashboardController(Controller):
    """The caller's dashboard."""

    path = "/dashboard"
    tags = ("Caller",)

    @get("/", **access(EVERYBODY))
    async def show(
        self,
        request: Request[Token, Any, Any],
        view: DashboardView = View.ROLE,
        limit: Limit = LIMIT_MAX,
        cursor: Cursor = None,
    ) -> AttendeeDashboard | OrganizerDashboard | AdminDashboard:
        """Show the dashboard for the caller's role: attendee, organizer or admin. Every role has bookings to see, too.

        Sums are of everything; the bookings or events shown are a page, and `next_cursor` leads to the next one.
        """
        asked = Asked(limit, cursor)
        shown = _of_attendee if view is View.ATTENDEE else _DASHBOARDS[request.user.role]
        return await shown(process(request), request.user.account_id, asked)


async def _of_attendee(at: Process, account_id: UUID, asked: Asked) -> AttendeeDashboard:
    now, after = utc_now(), read_cursor(asked.cursor, tuple[datetime, datetime, UUID])
    # Redis first: what is persisted in between is then seen twice, never missed.
    now_ms = to_ms(now)
    fresh = {booking.id: as_of(booking, now_ms) for booking in await at.stores.unpersisted.of_account(account_id)}
    holding = [booking for booking in fresh.values() if booking.status in HOLDING]
    stored = await at.dashboards.upcoming_of(
        account_id, UpcomingAsked(now=now, limit=asked.limit + 1, after=after, without=list(fresh))
    )
    starts = await at.dashboards.starts_of({booking.event_id for booking in holding}, now=now) if holding else {}
    stored += [(starts[booking.event_id], booking) for booking in holding if booking.event_id in starts]
    found = {(starts_at, booking.created_at, booking.id): booking for starts_at, booking in stored}
    positions, more = cut(sorted(position for position in found if after is None or position > after), asked.limit)
    return AttendeeDashboard(
        upcoming=[BookingShown.of(found[position]) for position in positions],
        counts=await _counts(at, account_id, fresh),
        next_cursor=write_cursor(positions[-1]) if more else None,
    )


async def _counts(at: Process, account_id: UUID, fresh: Mapping[UUID, Booking]) -> dict[str, int]:
    """The number of bookings by status: fresh ones are counted in Redis, all others in PostgreSQL.

    Each is counted from one of the two, so that a booking which is persisted meanwhile counts once, and as it is shown.
    """
    counts = {str(BookingStatus.PENDING): 0} | await at.dashboards.booking_statuses(account_id, without=list(fresh))
    for booking in fresh.values():
        counts[booking.status] = counts.get(booking.status, 0) + 1
    return counts


async def _of_organizer(at: Process, account_id: UUID, asked: Asked) -> OrganizerDashboard:
    """Every page separates future events from others by the time of the request for the first page."""
    cursor = read_cursor(asked.cursor, tuple[datetime, int, datetime, UUID])
    now, after = (cursor[0], cursor[1:]) if cursor else (utc_now(), None)
    found = await at.dashboards.programme_of(account_id, now=now, limit=asked.limit + 1, after=after)
    events, more = cut(found, asked.limit)
    ids = [event.id for event in events]
    known, refused = await at.dashboards.sales_of_events(ids), await at.stores.refusal_counts.last_hour(ids)
    sales = [
        _sales_of(shown, known[shown[0].id], refused=refused[shown[0].id])
        for shown in await at.stores.event_actions.on_show(events)
    ]
    next_cursor = write_cursor((now, *_position(events[-1], now))) if more else None
    return OrganizerDashboard(sales, await _totals(at, account_id), next_cursor)


def _position(event: Event, now: datetime) -> tuple[int, datetime, UUID]:
    """The position of an event in `Dashboards.programme_of`."""
    return int(event.cancelled_at is not None or event.over_at <= now), event.starts_at, event.id


def _sales_of(shown: tuple[Event, int, EventStatus], known: EventSale, *, refused: dict[str, int]) -> EventSales:
    event, remaining, _ = shown
    return EventSales(
        EventShown.of(*shown),
        sold=known.sold,
        held=known.held + max(0, event.capacity - remaining - known.taken),
        remaining=0 if event.cancelled_at else remaining,
        revenue_minor=known.revenue_minor,
        refused=refused,
    )


async def _totals(at: Process, account_id: UUID) -> SalesTotals:
    """The sums over all events. Held tickets and refusals are summed only over events that are not over."""
    known = await at.dashboards.sales_of(account_id)
    current = await at.dashboards.current_sales_of(account_id, now=utc_now())
    held, unpersisted, refused_in_all = 0, 0, Counter[str]()
    for start in range(0, len(current), EVENTS_PER_READ):
        some = current[start : start + EVENTS_PER_READ]
        ids = [sale.event_id for sale in some]
        taken, refused = await gather(at.stores.inventory.taken(ids), at.stores.refusal_counts.last_hour(ids))
        for sale, tickets in zip(some, taken, strict=True):
            more = max(0, (tickets or 0) - sale.taken)
            held += sale.held + more
            unpersisted += 0 if sale.cancelled else more
            refused_in_all.update(refused[sale.event_id])
    return SalesTotals(
        events=known.events,
        sold=known.sold,
        held=held,
        remaining=max(0, known.remaining - unpersisted),
        revenue_minor=known.revenue_minor,
        refused=dict(refused_in_all),
    )


async def _of_admin(at: Process, account_id: UUID, asked: Asked) -> AdminDashboard:
    del account_id, asked
    totals = await at.admin_reports.totals()
    pulses = await at.stores.unpersisted.pulses()
    return AdminDashboard(
        users=totals.users,
        events=totals.events,
        bookings=totals.bookings,
        queue=QueueState(
            persist_lag_ms=max(0, *(pulse.oldest_age_ms for pulse in pulses)),
            depth=sum(pulse.unpersisted_count for pulse in pulses),
        ),
        drift=await at.stores.books.open_drift(since=utc_now() - DRIFT_SHOWN_FOR),
    )


_DASHBOARDS: dict[Role, Callable[[Process, UUID, Asked], Awaitable[Dashboard]]] = {
    Role.ATTENDEE: _of_attendee,
    Role.ORGANIZER: _of_organizer,
    Role.ADMIN: _of_admin,
}
