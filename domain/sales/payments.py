"""Payments and refunds: their states, and what becomes of the money of a booking.

Of the money that was paid for a booking, each minor unit is in one of four places:

    paid = refunded + due + total of the confirmed booking + kept

`due` is decided but not back yet. `kept` is what an owner gave up by cancelling without a right to a refund. The
equation holds once every payment of the booking is decided and the booking is persisted.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.kernel.bookings import Booking, BookingStatus
from domain.sales.events import Payment, RefundPolicy
from domain.sales.order_body import ReducedBy

NO_BOOKING_VERSION = 0
"""Stands for the version of the booking in the refund of a payment that never paid for it."""

REFERENCE_CHARS_MAX = 200
"""Characters of a payment's reference; those of Stripe have 27."""


class PaymentState(StrEnum):
    """The state of a payment. At most one payment of a booking is in another state than `returned`."""

    RECEIVED = "received"
    """It stands, but PostgreSQL does not have the booking as confirmed yet."""
    APPLIED = "applied"
    """It paid for the booking."""
    RETURNED = "returned"
    """It did not pay for the booking: all of it goes back."""


class RefundState(StrEnum):
    """The state of a refund."""

    DUE = "due"
    SENT = "sent"
    """The provider was asked for it, and may or may not have done it."""
    DONE = "done"


class IntentState(StrEnum):
    """The state of a payment that a buyer has begun at a provider."""

    OPENING = "opening"
    """The provider is asked for it, and its name for it is not known yet."""
    OPEN = "open"
    CLOSED = "closed"
    """It was made, or it cannot be made any more."""


class RefundCause(StrEnum):
    """Why money goes back."""

    LATE = "late"
    """The hold had expired, and its tickets could not be taken again."""
    ALREADY_PAID = "already_paid"
    NOT_PAYABLE = "not_payable"
    """The booking was cancelled or rejected before it was paid."""
    AMOUNT_MISMATCH = "amount_mismatch"
    """Less was paid than the booking costs, or in another currency."""
    BOOKING_LOST = "booking_lost"
    """The booking was never persisted, and Redis has lost it."""
    CANCELLED = "cancelled"
    REDUCED = "reduced"
    """Some tickets of the booking were cancelled, or it was cheaper than what was paid."""


class Price(Struct, frozen=True, gc=False):
    """What a booking costs, as its body says."""

    total_minor: int = 0
    currency: str | None = None


FREE = Price()

_PRICES = msgspec.json.Decoder(Price)


def price_of(body: str | None) -> Price:
    """The price in a booking's body; a booking without a body is free."""
    return _PRICES.decode(body) if body else FREE


class Paid(Struct, frozen=True, kw_only=True):
    """Money that a provider or the organizer's system says it has received for a booking."""

    provider: Payment
    reference: str
    booking_id: UUID
    event_id: UUID
    amount_minor: int
    currency: str


class StoredPayment(Struct, frozen=True, kw_only=True):
    """A row of `payments`. `owner_refund` is the policy of the event when it was paid."""

    id: UUID
    provider: Payment
    reference: str
    booking_id: UUID
    event_id: UUID
    amount_minor: int
    currency: str
    state: PaymentState
    returned_minor: int
    kept_minor: int
    cause: RefundCause | None
    owner_refund: RefundPolicy
    created_at: datetime


class StoredPrice(Struct, frozen=True, kw_only=True):
    """A booking as PostgreSQL has it, as far as money goes.

    `reduced_by` is that of its body, `owner_refund` the current policy of its event.
    """

    status: BookingStatus
    version: int
    total_minor: int
    confirmed: bool
    reason: str | None
    reduced_by: str | None
    owner_refund: RefundPolicy


class Decision(Struct, frozen=True, kw_only=True):
    """What becomes of a payment: its state, and what goes back or is kept of it from now on."""

    state: PaymentState
    returned_minor: int = 0
    kept_minor: int = 0
    cause: RefundCause | None = None
    booking_version: int = NO_BOOKING_VERSION


class Balance(Struct, frozen=True, gc=False):
    """What was paid for a booking, what went back, and what is still to go back."""

    paid_minor: int = 0
    refunded_minor: int = 0
    refund_due_minor: int = 0


NO_BALANCE = Balance()


def has_balance(booking: Booking) -> bool:
    """Whether something may have been paid for a booking. A hold that was paid for is not held any more."""
    return (
        booking.body is not None and booking.status is not BookingStatus.HELD and price_of(booking.body).total_minor > 0
    )


def returned(payment: StoredPayment, cause: RefundCause) -> Decision:
    """The decision that a payment did not pay for its booking, so that all of it goes back."""
    return Decision(state=PaymentState.RETURNED, returned_minor=payment.amount_minor, cause=cause)


def decide(payment: StoredPayment, booking: StoredPrice) -> Decision | None:
    """What becomes of a payment by the booking's row; None if nothing changes, or the row does not decide it.

    A row that is held or expired decides nothing: a confirmation may be on its way from Redis.
    """
    if payment.state is PaymentState.RETURNED or booking.status in {BookingStatus.HELD, BookingStatus.EXPIRED}:
        return None
    if payment.state is PaymentState.APPLIED:
        return _by_change(payment, booking)
    if not booking.confirmed:
        return returned(payment, RefundCause.NOT_PAYABLE)
    overpaid = max(0, payment.amount_minor - booking.total_minor)
    return _by_change(payment, booking, overpaid_minor=overpaid) or Decision(state=PaymentState.APPLIED)


def _by_change(payment: StoredPayment, booking: StoredPrice, *, overpaid_minor: int = 0) -> Decision | None:
    """What the buyer has paid for and does not have any more goes back, or is kept; None if there is none of it.

    `overpaid_minor` is what the booking never cost, which always goes back.
    """
    stands = booking.status is BookingStatus.CONFIRMED
    excess = payment.amount_minor - payment.returned_minor - payment.kept_minor
    excess -= booking.total_minor if stands else 0
    if excess <= 0:
        return None
    back = overpaid_minor if _may_keep(payment, booking) else excess
    return Decision(
        state=PaymentState.APPLIED,
        returned_minor=back,
        kept_minor=excess - back,
        cause=RefundCause.REDUCED if stands else RefundCause.CANCELLED,
        booking_version=booking.version,
    )


def _may_keep(payment: StoredPayment, booking: StoredPrice) -> bool:
    """Whether the owner gave the tickets back, without a right to the money when it paid or now."""
    if RefundPolicy.FULL in {payment.owner_refund, booking.owner_refund}:
        return False
    if booking.status is BookingStatus.CONFIRMED:
        return booking.reduced_by != ReducedBy.ADMIN
    return booking.status is BookingStatus.CANCELLED and booking.reason is None
