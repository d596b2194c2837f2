"""Bookings as they are shown, with what was paid for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Response

from api.http.conditional import booking_headers
from api.shapes import BookingShown
from domain.sales.payments import NO_BALANCE, has_balance

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from api.context import Process
    from domain.kernel.bookings import Booking
    from domain.sales.payments import Balance


async def shown(at: Process, booking: Booking, *, status_code: int = 200, waited_s: int = 0) -> Response[BookingShown]:
    """The answer that shows a booking."""
    balance = await balance_of(at, booking) if has_balance(booking) else None
    headers = booking_headers(booking, balance, waited_s=waited_s)
    return Response(BookingShown.of(booking, balance), status_code=status_code, headers=headers)


async def balances_of(at: Process, bookings: Sequence[Booking]) -> dict[UUID, Balance]:
    """What was paid for those of the bookings that have a price and are not held; PostgreSQL is read only for them."""
    priced = [booking.id for booking in bookings if has_balance(booking)]
    found = await at.stores.money.payments.balances(priced) if priced else {}
    return {booking_id: found.get(booking_id, NO_BALANCE) for booking_id in priced}


async def balance_of(at: Process, booking: Booking) -> Balance:
    """What was paid for a booking."""
    return (await at.stores.money.payments.balances([booking.id])).get(booking.id, NO_BALANCE)
