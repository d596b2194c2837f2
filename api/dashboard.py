"""What matters to the caller at a glance: `/dashboard`."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from litestar import Controller, Request, get
from msgspec import Struct

from api.access import EVERYBODY, access
from api.process import Process, process
from api.wire import BookingShown, EventShown
from domain.bookings import HOLDING
from domain.identity import Role
from domain.tokens import Token, utc_now

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

SHOWN_MAX = 100
"""Bookings or events on a dashboard; the lists have all of them."""


class AttendeeDashboard(Struct, frozen=True):
    """Bookings of events still to come, soonest first, and how many bookings there are by status."""

    upcoming: list[BookingShown]
    counts: dict[str, int]


class EventSales(Struct, frozen=True):
    """How an event sells: `sold` places are confirmed, `held` ones pending.

    `refused` are the requests of the last hour that got none, by the problem's code.
    """

    event: EventShown
    sold: int
    held: int
    remaining: int
    refused: dict[str, int]


class SalesTotals(Struct, frozen=True):
    """The sums over an organizer's events that are shown."""

    events: int
    sold: int
    held: int
    remaining: int
    refused: dict[str, int]


class OrganizerDashboard(Struct, frozen=True):
    """The organizer's events, latest first, and their totals."""

    events: list[EventSales]
    totals: SalesTotals


class QueueState(Struct, frozen=True):
    """What waits to be persisted: how long its oldest change has waited, and how many there are."""

    persist_lag_ms: int
    depth: int


class AdminDashboard(Struct, frozen=True):
    """How much there is of everything.

    `drift` is by how many places the books were found wrong in the last minute and could not be mended.
    """

    users: dict[str, int]
    events: dict[str, int]
    bookings: dict[str, int]
    queue: QueueState
    drift: int


DRIFT_SHOWN_FOR = timedelta(minutes=1)
"""Reconciliation finds what is still wrong every few seconds."""

Dashboard = AttendeeDashboard | OrganizerDashboard | AdminDashboard


class DashboardController(Controller):
    """The caller's dashboard."""

    path = "/dashboard"
    tags = ("Caller",)

    @get("/", **access(EVERYBODY))
    async def show(self, request: Request[Token, Any, Any]) -> AttendeeDashboard | OrganizerDashboard | AdminDashboard:
        """What matters to an attendee, an organizer or an admin."""
        return await _DASHBOARDS[request.user.role](process(request), request.user.account_id)


async def _of_attendee(at: Process, account_id: UUID) -> AttendeeDashboard:
    recent = await at.stores.box_office.bookings_of(account_id, limit=SHOWN_MAX, before=None)
    starts = await at.reports.starts_of({booking.event_id for booking in recent})
    now = utc_now()
    upcoming = [booking for booking in recent if booking.status in HOLDING and starts.get(booking.event_id, now) > now]
    upcoming.sort(key=lambda booking: starts[booking.event_id])
    return AttendeeDashboard(
        upcoming=[BookingShown.of(booking) for booking in upcoming],
        counts=await at.reports.booking_statuses(account_id),
    )


async def _of_organizer(at: Process, account_id: UUID) -> OrganizerDashboard:
    events = await at.reports.events_of(account_id, limit=SHOWN_MAX)
    sold = await at.reports.sold([event.id for event in events])
    refused = await at.stores.turnstile.last_hour([event.id for event in events])
    sales = []
    for event, remaining, status in await at.stores.box_office.on_show(events):
        held = max(0, event.capacity - remaining - sold.get(event.id, 0))
        shown = EventShown.of(event, remaining, status)
        sales.append(
            EventSales(shown, sold=sold.get(event.id, 0), held=held, remaining=remaining, refused=refused[event.id])
        )
    return OrganizerDashboard(sales, _totals(sales))


def _totals(sales: list[EventSales]) -> SalesTotals:
    return SalesTotals(
        events=len(sales),
        sold=sum(each.sold for each in sales),
        held=sum(each.held for each in sales),
        remaining=sum(each.remaining for each in sales),
        refused=dict(sum((Counter(each.refused) for each in sales), Counter())),
    )


async def _of_admin(at: Process, account_id: UUID) -> AdminDashboard:
    del account_id
    totals = await at.reports.totals()
    pulses = await at.stores.inventory.pulses()
    return AdminDashboard(
        users=totals.users,
        events=totals.events,
        bookings=totals.bookings,
        queue=QueueState(
            persist_lag_ms=max(pulse.oldest_age_ms for pulse in pulses),
            depth=sum(pulse.unpersisted_count for pulse in pulses),
        ),
        drift=await at.stores.books.open_drift(since=utc_now() - DRIFT_SHOWN_FOR),
    )


_DASHBOARDS: dict[Role, Callable[[Process, UUID], Awaitable[Dashboard]]] = {
    Role.ATTENDEE: _of_attendee,
    Role.ORGANIZER: _of_organizer,
    Role.ADMIN: _of_admin,
}
