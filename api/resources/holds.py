"""Extend holds: `/bookings/{id}/extend`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from litestar import Controller, Request, Response, post
from litestar.params import FromPath

from api.access.declarations import EVERYBODY, access
from api.context import process
from api.http.conditional import booking_headers
from api.shapes import BookingShown
from domain.accounts.tokens import Token
from domain.kernel.refusals import BookingNotFound, HoldAtCap, HoldExpired, NotOnSale

if TYPE_CHECKING:
    from domain.kernel.bookings import Booking


class HoldController(Controller):
    """Bookings that are held until they are paid."""

    path = "/bookings"
    tags = ("Bookings",)

    @post(
        "/{booking_id:uuid}/extend",
        status_code=200,
        **access(
            EVERYBODY,
            limit="booking_change",
            refuses=(BookingNotFound, HoldExpired, HoldAtCap, NotOnSale),
            sends={200: ("ETag", "Retry-After")},
        ),
    )
    async def extend(self, request: Request[Token, Any, Any], booking_id: FromPath[UUID]) -> Response[BookingShown]:
        """Extend a hold, for its owner: to the event's `hold_seconds` from now, at most to its cap.

        It is possible while the event is on sale. A booking that is no hold any more is answered as it is.
        """
        box_office = process(request).stores.box_office
        await own_booking(request, booking_id)
        extended = await box_office.extend(booking_id)
        return Response(BookingShown.of(extended), headers=booking_headers(extended))


async def own_booking(request: Request[Token, Any, Any], booking_id: UUID) -> Booking:
    """A booking of the caller's own.

    Raises:
        BookingNotFound: there is none with this id, or it belongs to another account.
    """
    booking = await process(request).stores.box_office.booking(booking_id)
    if booking.user_id != request.user.account_id:
        detail = "There is no booking with this id."
        raise BookingNotFound(detail)
    return booking
