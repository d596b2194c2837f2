"""Idempotency: which booking a request with a key asks for, and when a key was used for another request before.

Two requests of an account with one key are the same request if they order as many tickets of the same event. A booking
id is made from account, key and event (`booking_id_for_key`), so the same request always leads to the same booking.
Another request with the key is refused. Three places remember the request; all of them compare what `fingerprint` and
`is_same` compare, and all of them refuse with `key_reused`:

- Redis remembers the request of each key for a day, also if it was refused (admit_request.lua).
- The booking's record in Redis, until two minutes after it was persisted (reserve_tickets.lua).
- The booking's row in PostgreSQL, for ever, also for a booking of another event (`Ledger.find_by_key`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.kernel.bookings import NewBooking
from domain.kernel.partitions import booking_id_for_key, random_booking_id
from domain.kernel.refusals import IdempotencyKeyReused

if TYPE_CHECKING:
    from uuid import UUID

    from domain.kernel.bookings import Booking, TicketOrder


def new_booking(order: TicketOrder, *, account_id: UUID) -> NewBooking:
    """The booking that an order asks for. With a key, the same order always has the same id."""
    event_id, key = order.event_id, order.idempotency_key
    if key is None:
        booking_id = random_booking_id(event_id)
    else:
        booking_id = booking_id_for_key(account_id=account_id, idempotency_key=key, event_id=event_id)
    return NewBooking(booking_id, event_id, account_id, order.quantity, key)


def fingerprint(new: NewBooking) -> str:
    """What makes two requests with one key the same, however their bodies are spelled."""
    return f"{new.event_id.hex}:{new.quantity}"


def is_same(earlier: Booking, new: NewBooking) -> bool:
    """Whether the request for `new` is the one that made an earlier booking with its key."""
    return (earlier.event_id, earlier.quantity) == (new.event_id, new.quantity)


def key_reused() -> IdempotencyKeyReused:
    """The refusal of another request with a key."""
    detail = "This idempotency key came with another request before. Use a new key for a new booking."
    return IdempotencyKeyReused(detail)
