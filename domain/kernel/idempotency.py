"""Idempotency: which booking a request with a key asks for, and when a key was used for another request before.

Two requests of an account with one key are the same request if they order the same of the same event: if the
fingerprints of their orders are equal. A booking id is made from account, key and event (`booking_id_for_key`), so the
same request always leads to the same booking. Another request with the key is refused. Three places remember the
request; all of them compare what `fingerprint` and `is_same` compare, and all of them refuse with `key_reused`:

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

    from domain.kernel.bookings import Booking, Order


def new_booking(order: Order, *, account_id: UUID) -> NewBooking:
    """The booking that an order asks for. With a key, the same order always has the same id."""
    event_id, key = order.event_id, order.idempotency_key
    if key is None:
        booking_id = random_booking_id(event_id)
    else:
        booking_id = booking_id_for_key(account_id=account_id, idempotency_key=key, event_id=event_id)
    return NewBooking(booking_id, account_id, order)


def fingerprint(new: NewBooking) -> str:
    """What makes two requests with one key the same, however their bodies are spelled."""
    return f"{new.event_id.hex}:{new.order.fingerprint}"


def is_same(earlier: Booking, new: NewBooking) -> bool:
    """Whether the request for `new` is the one that made an earlier booking with its key."""
    printed = earlier.fingerprint or plain_fingerprint(earlier.quantity)
    return (earlier.event_id, printed) == (new.event_id, new.order.fingerprint)


def plain_fingerprint(quantity: int) -> str:
    """The fingerprint of an order that only says how many tickets; it is not stored beside their number."""
    return str(quantity)


def key_reused() -> IdempotencyKeyReused:
    """The refusal of another request with a key."""
    detail = "This idempotency key came with another request before. Use a new key for a new booking."
    return IdempotencyKeyReused(detail)


def stored_fingerprint(order: Order) -> str | None:
    """The fingerprint that is stored with the booking; None for one that follows from the number of tickets."""
    printed = order.fingerprint
    return None if printed == plain_fingerprint(order.quantity) else printed
