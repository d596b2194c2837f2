"""Give back some tickets of a booking: `PATCH /bookings/{id}`."""

from __future__ import annotations

from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, patch
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from api.access.declarations import EVERYBODY, access
from api.context import process
from api.http.bodies import Body, Broken
from api.resources.balances import shown
from api.shapes import BookingShown
from domain.accounts.accounts import Role
from domain.accounts.tokens import Token, utc_now
from domain.kernel.bookings import HOLDING, Booking
from domain.kernel.refusals import (
    BookingNotFound,
    BookingOver,
    EventStarted,
    HoldExpired,
    MoreThanBooked,
    PaymentStarted,
)
from domain.sales.events import Deadline
from domain.sales.order_body import ReducedBy
from domain.sales.orders import LINES_MAX, TICKETS_MAX, check_order
from domain.sales.reductions import reduce_lines
from domain.sales.refusals import holds_nothing

if TYPE_CHECKING:
    from collections.abc import Iterable


class KeptItem(Body):
    """Tickets of one type that a booking keeps."""

    ticket_type_id: UUID
    quantity: Annotated[int, Meta(ge=0, le=TICKETS_MAX)]


class BookingPatch(Body):
    """The tickets that a booking keeps, by ticket type. Tickets of types that are not named are given back."""

    items: Annotated[list[KeptItem], Meta(max_length=LINES_MAX)]

    def broken_rules(self) -> Iterable[Broken]:
        """At least one ticket remains; every ticket type once."""
        if not any(item.quantity for item in self.items):
            yield Broken("/items", "At least one ticket must remain. To give back all, DELETE the booking")
        yield from starmap(Broken, check_order(self.lines))

    @property
    def lines(self) -> tuple[tuple[UUID, int], ...]:
        """Ticket types and how many tickets of each are kept."""
        return tuple((item.ticket_type_id, item.quantity) for item in self.items)


class ChangeController(Controller):
    """Bookings that give back some of their tickets."""

    path = "/bookings"
    tags = ("Bookings",)

    @patch(
        "/{booking_id:uuid}",
        status_code=200,
        **access(
            EVERYBODY,
            limit="booking_change",
            refuses=(BookingNotFound, BookingOver, EventStarted, HoldExpired, MoreThanBooked, PaymentStarted),
            sends={200: ("ETag", "Retry-After")},
        ),
    )
    async def reduce(
        self, request: Request[Token, Any, Any], booking_id: FromPath[UUID], data: JSONBody[BookingPatch]
    ) -> Response[BookingShown]:
        """Give back some tickets of a booking, for its owner and admins. It can have fewer tickets, never more.

        `items` are the tickets that remain. They cost what they cost when they were booked: a sum that cannot be shared
        equally is dearer for the first tickets of a line, which are those that remain. The use of a promo code comes
        back with the last ticket that it has made cheaper. A repeated request gets the same answer.

        A hold can be reduced until its deadline, unless its payment has begun, and a booking as long as it can be
        cancelled. What comes back of the price is decided as for a cancellation.
        """
        booking = await process(request).stores.box_office.booking(booking_id)
        caller = request.user
        if booking.user_id != caller.account_id and caller.role is not Role.ADMIN:
            detail = "There is no booking with this id."
            raise BookingNotFound(detail)
        await process(request).stores.payment_actions.check_unpaid(booking)
        return await shown(process(request), await _reduce(request, booking, data.lines))


async def _reduce(request: Request[Token, Any, Any], booking: Booking, lines: tuple[tuple[UUID, int], ...]) -> Booking:
    """Reduce it for its owner, or for an admin with an entry in the audit log."""
    stores, caller_id = process(request).stores, request.user.account_id
    own = caller_id == booking.user_id
    catalogue = await stores.events.booked_types(booking.event_id)
    reduced = await stores.box_office.reduce(
        booking.id,
        partial(reduce_lines, lines=lines, catalogue=catalogue, by=ReducedBy.OWNER if own else ReducedBy.ADMIN),
        deadline=Deadline.ATTENDANCE if own else Deadline.OVER,
    )
    if reduced.status not in HOLDING:
        raise holds_nothing(reduced.status)
    if not own and reduced.quantity < booking.quantity:
        await stores.accounts.note(
            actor_id=caller_id,
            action="booking.reduced",
            target_id=booking.id,
            now=utc_now(),
            user_id=str(booking.user_id),
            quantity=reduced.quantity,
        )
    return reduced
