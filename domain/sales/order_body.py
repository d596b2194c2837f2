"""The body of a booking: its lines with prices as they were when it was made, as JSON that the kernel never reads."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.sales.ticket_types import GENERAL_ADMISSION

if TYPE_CHECKING:
    from domain.kernel.bookings import Booking


class OrderLine(Struct, frozen=True, gc=False):
    """A line of a booking. `sum_minor` is what its tickets cost together, after the discount."""

    ticket_type_id: UUID
    name: str
    quantity: int
    unit_price_minor: int
    discount_minor: int
    sum_minor: int


class ReducedBy(StrEnum):
    """Who gave back some tickets of a booking. It decides whether their money goes back."""

    OWNER = "owner"
    ADMIN = "admin"


class PricedOrder(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The body of a booking. PostgreSQL reads `total_minor` and `currency` from it (`Ledger.persist`)."""

    items: tuple[OrderLine, ...]
    total_minor: int
    currency: str | None = None
    promo_code_id: UUID | None = None
    promo_code: str | None = None
    guest_email: str | None = None
    guest_name: str | None = None
    reduced_by: ReducedBy | None = None


_DECODER = msgspec.json.Decoder(PricedOrder)


def read_body(text: str) -> PricedOrder:
    """The body that a booking has; a booking of one free, general ticket type has none."""
    return _DECODER.decode(text)


def body_of(booking: Booking) -> PricedOrder:
    """The body of a booking. One that was ordered by its number of tickets alone has one line, of the general type."""
    return read_body(booking.body) if booking.body else general_order(booking.event_id, booking.quantity)


def general_order(event_id: UUID, quantity: int) -> PricedOrder:
    """Free tickets of the general type of an event."""
    return PricedOrder(items=(OrderLine(event_id, GENERAL_ADMISSION, quantity, 0, 0, 0),), total_minor=0)


def types_of(booking: Booking) -> list[UUID]:
    """The ticket types of a booking."""
    return [line.ticket_type_id for line in body_of(booking).items]


def write_body(body: PricedOrder) -> str:
    """A body as it is stored."""
    return msgspec.json.encode(body).decode()
