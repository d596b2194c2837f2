"""The refusals of orders and cancellations that the terms of a sale do not allow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import EventStarted, HoldAtCap, HoldExpired, NotOnSale, PerUserLimit, SoldOut, tickets
from domain.sales.events import Deadline

if TYPE_CHECKING:
    from datetime import datetime

    from domain.kernel.claims import Claim
    from domain.sales.events import Terms

_NOT_ON_SALE = {
    EventStatus.SCHEDULED: "Sales of this event are not open yet; `sales_open_at` is when they open.",
    EventStatus.PAUSED: "Sales of this event are paused.",
    EventStatus.CLOSED: "Sales of this event are closed.",
    EventStatus.CANCELLED: "The event is cancelled.",
    # A script may answer just before the sales open or close.
    EventStatus.ON_SALE: "Sales of this event are just opening or closing. Try again.",
}

_TOO_LATE = {
    Deadline.BEGIN: "A booking can be cancelled until the event begins.",
    Deadline.ATTENDANCE: "A booking can be cancelled until the event begins and its sales are closed.",
    Deadline.OVER: "A booking can be cancelled until the event is over.",
}


def not_on_sale(terms: Terms, *, now_ms: int) -> NotOnSale:
    """The refusal of an order outside of the sales period."""
    status = terms.status(now_ms=now_ms, remaining=1)
    return NotOnSale(_NOT_ON_SALE[status], event_status=status, sales_open_at=terms.sales_open_at)


def hold_expired(
    terms: Terms, *, now_ms: int | None = None, claim: Claim | None = None, remaining: int = 0
) -> HoldExpired:
    """The refusal of a hold after its deadline: the sale is over at `now_ms`, or too little remains of a claim."""
    detail = "The deadline of the hold has passed"
    if now_ms is not None:
        return HoldExpired(f"{detail}, and the event is not on sale: {terms.status(now_ms=now_ms, remaining=1)}.")
    if claim is not None:
        return HoldExpired(f"{detail}, and its tickets are sold: {max(0, remaining)} of {claim.quantity} are left.")
    return HoldExpired(f"{detail}.")


def hold_at_cap(expires_at: datetime) -> HoldAtCap:
    """The refusal of an extension beyond the cap."""
    return HoldAtCap(f"The hold cannot be extended beyond {expires_at.isoformat()}.")


def too_late(deadline: Deadline) -> EventStarted:
    """The refusal of a cancellation after its deadline."""
    return EventStarted(_TOO_LATE[deadline])


def over_limit(allowance: int, *, remaining: int) -> PerUserLimit:
    """The refusal of an order for more than the account may still book."""
    already = allowance - remaining
    detail = f"An account may book {tickets(allowance)} of this event. Yours has {tickets(already)} already."
    return PerUserLimit(detail, limit=allowance, already_booked=already)


def sold_out(remaining: int) -> SoldOut:
    """The refusal of an order for more tickets than are left."""
    left = max(0, remaining)
    detail = f"The event has only {tickets(left)} left. Book fewer." if left else "The event has no tickets left."
    return SoldOut(detail, remaining=left)
