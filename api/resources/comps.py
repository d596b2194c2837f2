"""Give free tickets to guests: `/events/{id}/comps`."""

from __future__ import annotations

from itertools import starmap
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, post
from litestar.params import FromPath, JSONBody
from msgspec import Meta

from api.access.declarations import ORGANIZERS, access
from api.access.guards import check_owns_event
from api.context import process
from api.http.bodies import LINE_PATTERN, Body, Broken, nfc
from api.http.conditional import booking_headers
from api.http.headers import IDEMPOTENCY_KEY, idempotency_key
from api.resources.bookings import OrderItem
from api.shapes import BookingShown
from domain.accounts.accounts import EMAIL_CHARACTERS_MAX, broken_email_rule
from domain.accounts.tokens import Token, utc_now
from domain.kernel.refusals import (
    EventNotFound,
    IdempotencyKeyReused,
    NotOnSale,
    PersistenceLagging,
    SoldOut,
    TicketTypeNotFound,
)
from domain.sales.comps import CompOrder, comp_key
from domain.sales.orders import LINES_MAX, check_order
from domain.store.redis.admission import Ask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.kernel.bookings import Booking, Reservation
    from domain.sales.events import Event

NAME_CHARACTERS_MAX = 200

_SENDS = ("ETag", "Location", "Idempotent-Replayed")


class Comp(Body):
    """Free tickets for a guest, who needs no account."""

    email: Annotated[str, Meta(max_length=EMAIL_CHARACTERS_MAX)]
    items: Annotated[list[OrderItem], Meta(min_length=1, max_length=LINES_MAX)]
    name: Annotated[str, Meta(max_length=NAME_CHARACTERS_MAX, pattern=LINE_PATTERN)] | None = None

    def broken_rules(self) -> Iterable[Broken]:
        """The address must be valid; every ticket type is named once."""
        fault = broken_email_rule(nfc(self.email))
        if fault:
            yield Broken("/email", fault)
        yield from starmap(Broken, check_order(self._lines))

    @property
    def _lines(self) -> tuple[tuple[UUID, int], ...]:
        return tuple((item.ticket_type_id, item.quantity) for item in self.items)

    def order(self, event_id: UUID, key: str | None) -> CompOrder:
        """The order for the engine."""
        name = None if self.name is None else nfc(self.name)
        return CompOrder(event_id, self._lines, nfc(self.email), name, key)


class CompController(Controller):
    """Free tickets for guests."""

    path = "/events"
    tags = ("Bookings",)

    @post(
        "/{event_id:uuid}/comps",
        status_code=202,
        **access(
            ORGANIZERS,
            limit="booking_create",
            reads=(IDEMPOTENCY_KEY,),
            sends={200: _SENDS, 202: (*_SENDS, "Retry-After")},
            refuses=(
                *(EventNotFound, TicketTypeNotFound, SoldOut, NotOnSale, IdempotencyKeyReused, PersistenceLagging),
            ),
        ),
    )
    async def create(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], data: JSONBody[Comp]
    ) -> Response[BookingShown]:
        """Give free tickets to a guest, for the event's organizer and admins.

        The booking is the organizer's own. It is on the guest list with the guest's `email` and `name`; whether an
        account has that address makes no difference. It takes nothing of the organizer's `max_per_user`. Comps can be
        given before sales open, until they close; of hidden types, and in any quantity.

        Send an `Idempotency-Key`: keys of comps are apart from those of other bookings. A repeated request is answered
        200 if its booking is final by then.
        """
        stores, caller = process(request).stores, request.user
        event = await stores.event_actions.find(event_id)
        check_owns_event(caller, event)
        order = data.order(event_id, comp_key(caller.account_id, idempotency_key(request.scope)))
        reservation = await stores.box_office.reserve(Ask.trusted(event.organizer_id), order)
        await _note(request, event, reservation.booking)
        return _given(reservation)


async def _note(request: Request[Token, Any, Any], event: Event, booking: Booking) -> None:
    """Write an entry to the audit log for an admin who is not the organizer."""
    if request.user.account_id != event.organizer_id:
        await process(request).stores.accounts.note(
            actor_id=request.user.account_id,
            action="comp.created",
            target_id=booking.id,
            now=utc_now(),
            event_id=str(event.id),
            quantity=booking.quantity,
        )


def _given(reservation: Reservation) -> Response[BookingShown]:
    booking = reservation.booking
    headers = booking_headers(booking)
    headers["location"] = f"/api/v1/bookings/{booking.id}/status"
    if reservation.replayed:
        headers["idempotent-replayed"] = "true"
    status = 200 if reservation.replayed and booking.final else 202
    return Response(BookingShown.of(booking), status_code=status, headers=headers)
