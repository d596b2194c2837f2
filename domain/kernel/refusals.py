"""Refusals: the reasons to refuse a request. Their HTTP statuses are in `api`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, TypedDict
from uuid import UUID

from msgspec import Meta

from domain.kernel.event_status import EventStatus

ZonedTime = Annotated[datetime, Meta(tz=True)]


class BrokenRule(TypedDict):
    """A rule of the request that a field breaks; `pointer` is a JSON pointer to the field (RFC 6901)."""

    pointer: str
    message: str


class Refusal(Exception):
    """The reason why a request was refused; nothing was changed. `code` never changes; `facts` are sent to the caller.

    `members` has the name and the type of every fact; those in `optional` may be missing. No fact has the name of a
    member that every problem has (RFC 9457). The OpenAPI document is generated from `members`.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    members: ClassVar[dict[str, Any]] = {}
    optional: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


def tickets(number: int) -> str:
    """A number of tickets in words: `1 ticket`, `4 tickets`."""
    return "1 ticket" if number == 1 else f"{number} tickets"


class Missing(Refusal):
    """The resource does not exist, or the caller may not know that it does."""


class EventNotFound(Missing):
    """No event has this id."""

    code = "event_not_found"
    title = "Event not found"


class BookingNotFound(Missing):
    """No booking of the caller's has this id."""

    code = "booking_not_found"
    title = "Booking not found"


class PaymentNotFound(Missing):
    """No open payment has this id."""

    code = "payment_not_found"
    title = "Payment not found"


class UserNotFound(Missing):
    """No account has this id."""

    code = "user_not_found"
    title = "User not found"


class Conflict(Refusal):
    """The request is valid, but the current state does not allow it."""


class SoldOut(Conflict):
    """Fewer tickets are left than requested; carries `remaining`.

    For an order of ticket types it also carries the `ticket_type_id` of the first line that is short, and
    `earliest_release_at`: when so many holds end that their tickets would do, None if no such holds are known.
    `missing` is for the engine: the counter that is short, and by how many units.
    """

    code = "sold_out"
    title = "Sold out"
    missing: tuple[str, int] | None = None
    members: ClassVar[dict[str, Any]] = {
        "remaining": int,
        "ticket_type_id": UUID,
        "earliest_release_at": ZonedTime | None,
    }
    optional = frozenset({"ticket_type_id", "earliest_release_at"})


class PerUserLimit(Conflict):
    """The account would hold more tickets than the event allows one account; carries `limit`, `already_booked`.

    `ticket_type_id` is there if the limit is that of a ticket type.
    """

    code = "per_user_limit"
    title = "Too many tickets for one account"
    members: ClassVar[dict[str, Any]] = {"limit": int, "already_booked": int, "ticket_type_id": UUID}
    optional = frozenset({"ticket_type_id"})


class NotOnSale(Conflict):
    """The event is not on sale: not yet open, paused, closed or cancelled; carries `event_status`, `sales_open_at`.

    `ticket_type_id` is there if only a ticket type is not on sale.
    """

    code = "not_on_sale"
    title = "Not on sale"
    members: ClassVar[dict[str, Any]] = {
        "event_status": EventStatus,
        "sales_open_at": ZonedTime | None,
        "ticket_type_id": UUID,
    }
    optional = frozenset({"ticket_type_id"})


class PoolNotFound(Missing):
    """The event has no pool with this id."""

    code = "pool_not_found"
    title = "Pool not found"


class PromoCodeNotFound(Missing):
    """The event has no promo code with this id."""

    code = "promo_code_not_found"
    title = "Promo code not found"


class TicketTypeNotFound(Missing):
    """The event has no ticket type with this id, or none that the caller may know of."""

    code = "ticket_type_not_found"
    title = "Ticket type not found"


class QuantityNotAllowed(Conflict):
    """A ticket type is not sold in this quantity; carries `ticket_type_id`, `min_per_booking`, `max_per_booking`."""

    members: ClassVar[dict[str, Any]] = {"ticket_type_id": UUID, "min_per_booking": int, "max_per_booking": int}


class BelowMinimum(QuantityNotAllowed):
    """A ticket type is only sold in larger quantities."""

    code = "min_per_booking"
    title = "Too few tickets of this type"


class AboveMaximum(QuantityNotAllowed):
    """A ticket type is only sold in smaller quantities."""

    code = "max_per_booking"
    title = "Too many tickets of this type"


class RequirementMissing(Conflict):
    """A ticket type needs a ticket of another type; carries `ticket_type_id`, `requires_type_id`."""

    code = "requirement_missing"
    title = "Another ticket is needed"
    members: ClassVar[dict[str, Any]] = {"ticket_type_id": UUID, "requires_type_id": UUID}


class PromoCodeInvalid(Conflict):
    """The event has no such promo code, or it cannot be used now."""

    code = "promo_code_invalid"
    title = "The promo code is not valid"


class PromoCodeUsedUp(Conflict):
    """The promo code was used as often as it can be, by all buyers or by this account."""

    code = "promo_code_used_up"
    title = "The promo code is used up"


class PromoCodeNotForThis(Conflict):
    """The promo code is for none of the ticket types of the order."""

    code = "promo_code_not_for_this"
    title = "The promo code is not for these tickets"


class PriceChanged(Conflict):
    """The total is not the expected one; carries `total_minor`, `currency`."""

    code = "price_changed"
    title = "The price has changed"
    members: ClassVar[dict[str, Any]] = {"total_minor": int, "currency": str | None}


class TooManyHolds(Conflict):
    """The account has as many holds of the event as it may have; carries `limit`."""

    code = "too_many_holds"
    title = "Too many holds"
    members: ClassVar[dict[str, Any]] = {"limit": int}


class HoldExpired(Conflict):
    """The deadline of the hold has passed, and its tickets cannot be taken again."""

    code = "hold_expired"
    title = "The hold has expired"


class HoldAtCap(Conflict):
    """The deadline of the hold is as late as it can be; carries `expires_at`."""

    code = "hold_at_cap"
    title = "The hold cannot be extended further"
    members: ClassVar[dict[str, Any]] = {"expires_at": ZonedTime}


class BookingOver(Conflict):
    """The booking holds no tickets any more: it is cancelled, rejected, or a hold that has expired."""

    code = "booking_over"
    title = "The booking holds no tickets"


class MoreThanBooked(Conflict):
    """The booking has fewer tickets of a type than it should keep; carries `ticket_type_id`, `quantity`."""

    code = "more_than_booked"
    title = "More tickets than the booking has"
    members: ClassVar[dict[str, Any]] = {"ticket_type_id": UUID, "quantity": int}


class InUse(Conflict):
    """It cannot be changed in this way, because bookings, ticket types or pools depend on it."""

    code = "in_use"
    title = "It is in use"


class PromoCodeTaken(Conflict):
    """The event has such a promo code already; carries `promo_code`."""

    code = "promo_code_taken"
    title = "The promo code exists already"
    members: ClassVar[dict[str, Any]] = {"promo_code": str}


class MaxUsesBelowUsed(Conflict):
    """The promo code was used more often than that; carries `used`."""

    code = "max_uses_below_used"
    title = "The promo code was used more often"
    members: ClassVar[dict[str, Any]] = {"used": int}


class AlreadyPaid(Conflict):
    """Another payment has paid for the booking. This one is returned."""

    code = "already_paid"
    title = "The booking is paid already"


class AmountMismatch(Conflict):
    """The amount is not what the booking costs, or what is due; carries the right `amount_minor` and `currency`."""

    code = "amount_mismatch"
    title = "The amount is not the right one"
    members: ClassVar[dict[str, Any]] = {"amount_minor": int, "currency": str | None}


class NotPayable(Conflict):
    """The booking cannot be paid: it is free, cancelled or rejected, or its event is not paid this way."""

    code = "not_payable"
    title = "The booking cannot be paid"


class PaymentStarted(Conflict):
    """The buyer has begun to pay for the booking, so it cannot be changed until that has ended."""

    code = "payment_started"
    title = "The payment of the booking has begun"


class PaymentReferenceUsed(Conflict):
    """Another booking of the event was paid with this reference."""

    code = "payment_reference_used"
    title = "The payment reference was used for another booking"


class EventCancelled(Conflict):
    """A cancelled event cannot be changed."""

    code = "event_cancelled"
    title = "The event is cancelled"


class EventOver(Conflict):
    """An event that is over cannot be cancelled, and what it sells cannot be changed."""

    code = "event_over"
    title = "The event is over"


class EventStarted(Conflict):
    """It is too late to cancel the booking.

    Its owner can cancel it until the event starts and its sales close, the organizer until the event is over.
    """

    code = "event_started"
    title = "The event has started"


class CurrencyFixed(Conflict):
    """The currency of an event cannot be changed, because tickets were booked."""

    code = "currency_fixed"
    title = "The currency cannot be changed"


class CapacityBelowSold(Conflict):
    """The requested capacity is less than the tickets taken; carries `sold`.

    For a pool, `sold` and `held` are units of the pool: those of bookings, and those of holds.
    """

    code = "capacity_below_sold"
    title = "The capacity is below the tickets sold"
    members: ClassVar[dict[str, Any]] = {"sold": int, "held": int}
    optional = frozenset({"held"})

    @classmethod
    def of(cls, sold: int) -> CapacityBelowSold:
        """The refusal with its number of tickets sold."""
        return cls(f"The event has sold {tickets(sold)}. Choose a capacity of {sold} or more.", sold=sold)


class EmailTaken(Conflict):
    """An account with this address exists."""

    code = "email_taken"
    title = "The e-mail address is taken"


class LastAdmin(Conflict):
    """The change would leave no admin."""

    code = "last_admin"
    title = "The last admin cannot be removed"


class Invalid(Refusal):
    """The request breaks a rule; `errors` is a list of `{pointer, message}`."""

    code = "invalid_request"
    title = "The request breaks a rule"
    members: ClassVar[dict[str, Any]] = {"errors": list[BrokenRule]}

    @classmethod
    def at(cls, pointer: str, message: str) -> Invalid:
        """A refusal for one broken rule at one JSON pointer."""
        return cls(message, errors=[{"pointer": pointer, "message": message}])


class IdempotencyKeyReused(Refusal):
    """The key was used for another booking; one key identifies one request."""

    code = "idempotency_key_reused"
    title = "The idempotency key was used for another request"


class Unauthenticated(Refusal):
    """The token is missing or cannot be used; every cause gives the same answer."""

    code = "unauthenticated"
    title = "Not authenticated"


class InvalidCredentials(Refusal):
    """Unknown e-mail, wrong password or banned account; every cause gives the same answer."""

    code = "invalid_credentials"
    title = "The e-mail address or the password is wrong"


class SignatureInvalid(Refusal):
    """A message of a payment provider is not signed with its secret, or is too old."""

    code = "signature_invalid"
    title = "The signature cannot be verified"


class Forbidden(Refusal):
    """The caller's role or ownership does not allow the request."""

    code = "forbidden"
    title = "Not allowed"


class OrganizerApprovalRequired(Refusal):
    """Only an admin makes an account an organizer (`ORGANIZER_SIGNUP=approval`)."""

    code = "organizer_approval_required"
    title = "Organizers need the approval of an admin"


class OrganizerSignupClosed(Refusal):
    """No account can make itself an organizer (`ORGANIZER_SIGNUP=closed`)."""

    code = "organizer_signup_closed"
    title = "No new organizers are accepted"


class WrongPassword(Refusal):
    """A change of the account requires its current password."""

    code = "wrong_password"
    title = "The current password is wrong"


class VersionMismatch(Refusal):
    """The resource was changed since the caller read it; carries `version`."""

    code = "version_mismatch"
    title = "The event has changed"
    members: ClassVar[dict[str, Any]] = {"version": int}


class RateLimited(Refusal):
    """The caller sent more requests than the limit allows; carries `retry_after_seconds`."""

    code = "rate_limited"
    title = "Too many requests"
    members: ClassVar[dict[str, Any]] = {"retry_after_seconds": int, "limit": str, "quota": int, "window_seconds": int}


class Unavailable(Refusal):
    """A server cannot be reached or the inventory is being rebuilt; carries `retry_after_seconds`."""

    code = "unavailable"
    title = "Temporarily unavailable"
    members: ClassVar[dict[str, Any]] = {"retry_after_seconds": int}


class InventoryUnavailable(Unavailable):
    """Redis has no inventory of the current epoch; retry after the rebuild."""

    @classmethod
    def rebuilding(cls) -> InventoryUnavailable:
        """The refusal of a request that cannot be answered before the rebuild."""
        return cls("The inventory is being rebuilt.", retry_after_seconds=1)


class PersistenceLagging(Unavailable):
    """Bookings are accepted faster than workers persist them; carries `retry_after_seconds`."""

    code = "persistence_lagging"
    title = "Too many bookings wait to be stored"
