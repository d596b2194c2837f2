"""A booking's way: reserved, persisted, retired, cancelled."""

from __future__ import annotations

from domain.bookings import BookingStatus
from tests.books import pool, record, retire, row, taken, unpersisted
from tests.factories import book, make_event
from tests.waiting import persist_all


async def test_a_reserved_booking_is_pending_and_holds_its_places(stores):
    event = await make_event(stores, capacity=10)

    booking = await book(stores, event, quantity=3)

    assert booking.status is BookingStatus.PENDING
    assert await taken(stores, event) == 3
    assert await unpersisted(stores) == {booking.id}
    assert await row(stores, booking) is None
