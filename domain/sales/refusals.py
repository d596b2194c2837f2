"""The refusals of orders and cancellations that the terms of a sale do not allow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from domain.kernel.bookings import BookingStatus
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import (
    AboveMaximum,
    BelowMinimum,
    BookingOver,
    EventStarted,
    HoldAtCap,
    HoldExpired,
    MoreThanBooked,
    NotOnSale,
    PerUserLimit,
    PriceChanged,
    PromoCodeInvalid,
    PromoCodeNotForThis,
    PromoCodeUsedUp,
    RequirementMissing,
    SoldOut,
    TicketTypeNotFound,
    TooManyHolds,
    tickets,
)
from domain.sales.events import Deadline

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from domain.kernel.claims import Claim
    from domain.sales.events import Terms
    from domain.sales.ticket_types import TicketType

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
    return HoldAtCap(f"The hold cannot be extended beyond {expires_at.isoformat()}.", expires_at=expires_at)


def too_late(deadline: Deadline) -> EventStarted:
    """The refusal of a cancellation after its deadline."""
    return EventStarted(_TOO_LATE[deadline])


def over_limit(allowance: int, *, remaining: int, ticket_type: TicketType | None = None) -> PerUserLimit:
    """The refusal of an order for more than the account may still book, of the event or of one ticket type."""
    already = allowance - remaining
    of = "this event" if ticket_type is None else f"the type `{ticket_type.name}`"
    detail = f"An account may book {tickets(allowance)} of {of}. Yours has {tickets(already)} already."
    facts = {} if ticket_type is None else {"ticket_type_id": ticket_type.id}
    return PerUserLimit(detail, limit=allowance, already_booked=already, **facts)


def sold_out(
    remaining: int, *, ticket_type: TicketType | None = None, missing: tuple[str, int] | None = None
) -> SoldOut:
    """The refusal of an order for more tickets than are left, of the event or of one ticket type.

    `missing` is the counter that is short, and by how many units.
    """
    left = max(0, remaining)
    if ticket_type is None:
        detail = f"The event has only {tickets(left)} left. Book fewer." if left else "The event has no tickets left."
        return SoldOut(detail, remaining=left)
    named = f"`{ticket_type.name}`"
    detail = f"Of {named}, only {tickets(left)} are left. Book fewer." if left else f"No tickets of {named} are left."
    refusal = SoldOut(detail, remaining=left, ticket_type_id=ticket_type.id, earliest_release_at=None)
    refusal.missing = missing
    return refusal


def type_not_on_sale(ticket_type: TicketType, *, now_ms: int) -> NotOnSale:
    """The refusal of an order outside of the time in which a ticket type is sold."""
    soon = now_ms < ticket_type.window_ms[0]
    when = "not open yet; `sales_open_at` is when they open" if soon else "over"
    return NotOnSale(
        f"Sales of `{ticket_type.name}` are {when}.",
        event_status=EventStatus.SCHEDULED if soon else EventStatus.CLOSED,
        sales_open_at=ticket_type.sales_open_at,
        ticket_type_id=ticket_type.id,
    )


def ticket_type_not_found() -> TicketTypeNotFound:
    """The refusal of an order for a ticket type that the buyer cannot see."""
    return TicketTypeNotFound("The event has no ticket type with this id.")


def below_minimum(ticket_type: TicketType) -> BelowMinimum:
    """The refusal of an order for too few tickets of a type."""
    detail = f"At least {tickets(ticket_type.min_per_booking)} of `{ticket_type.name}` must be booked together."
    return BelowMinimum(detail, **_quantities(ticket_type))


def over_maximum(ticket_type: TicketType) -> AboveMaximum:
    """The refusal of an order for too many tickets of a type."""
    detail = f"At most {tickets(ticket_type.max_per_booking)} of `{ticket_type.name}` can be booked together."
    return AboveMaximum(detail, **_quantities(ticket_type))


def _quantities(ticket_type: TicketType) -> dict[str, Any]:
    return {
        "ticket_type_id": ticket_type.id,
        "min_per_booking": ticket_type.min_per_booking,
        "max_per_booking": ticket_type.max_per_booking,
    }


def requirement_missing(ticket_type: TicketType) -> RequirementMissing:
    """The refusal of an order for tickets of a type that needs a ticket of another type."""
    detail = f"`{ticket_type.name}` needs another ticket, in the same order or booked before: `requires_type_id`."
    return RequirementMissing(detail, ticket_type_id=ticket_type.id, requires_type_id=ticket_type.requires_type_id)


def more_than_booked(type_id: UUID, quantity: int) -> MoreThanBooked:
    """The refusal of a reduction that would keep more tickets of a type than the booking has."""
    detail = f"The booking has {tickets(quantity)} of this type. It can only be reduced: order more in a new booking."
    return MoreThanBooked(detail, ticket_type_id=type_id, quantity=quantity)


def holds_nothing(status: BookingStatus) -> BookingOver | HoldExpired:
    """The refusal of a change of a booking that holds no tickets any more."""
    if status is BookingStatus.EXPIRED:
        return HoldExpired("The deadline of the hold has passed.")
    return BookingOver(f"The booking is {status}. It holds no tickets that could be given back.")


def promo_code_invalid() -> PromoCodeInvalid:
    """The refusal of a promo code that the event does not have, or that cannot be used now."""
    return PromoCodeInvalid("This promo code is not valid.")


def promo_code_used_up() -> PromoCodeUsedUp:
    """The refusal of a promo code that was used as often as it can be."""
    return PromoCodeUsedUp("This promo code was used as often as it can be.")


def promo_code_not_for_this() -> PromoCodeNotForThis:
    """The refusal of a promo code that is for other ticket types."""
    return PromoCodeNotForThis("This promo code is for none of these ticket types.")


def price_changed(total_minor: int, currency: str | None) -> PriceChanged:
    """The refusal of an order whose total is not the expected one."""
    detail = "The order has another total than expected. Show `total_minor` to the buyer and order again."
    return PriceChanged(detail, total_minor=total_minor, currency=currency)


def too_many_holds(limit: int) -> TooManyHolds:
    """The refusal of another hold."""
    detail = f"An account may have {limit} holds of this event at a time. Pay, cancel or wait for one of them."
    return TooManyHolds(detail, limit=limit)
