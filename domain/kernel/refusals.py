"""The facts a request can be refused for. HTTP statuses for them live in `api`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, ClassVar, TypedDict

from msgspec import Meta

from domain.kernel.event_status import EventStatus

Moment = Annotated[datetime, Meta(tz=True)]


class BrokenRule(TypedDict):
    """A rule of the request that a field breaks; `pointer` is a JSON pointer to the field (RFC 6901)."""

    pointer: str
    message: str


class Refusal(Exception):
    """A request that took nothing. `code` is stable; `facts` is what the caller may be told.

    `members` has the name and the type of every fact; none has the name of a member that every problem has
    (RFC 9457). The OpenAPI document is made from it.
    """

    code: ClassVar[str]
    title: ClassVar[str]
    members: ClassVar[dict[str, Any]] = {}

    def __init__(self, detail: str, **facts: object) -> None:
        super().__init__(detail)
        self.detail = detail
        self.facts = facts


class Missing(Refusal):
    """There is no such thing, or the caller may not know of it."""


class EventNotFound(Missing):
    """No event has this id."""

    code = "event_not_found"
    title = "No such event"


class BookingNotFound(Missing):
    """No booking of the caller's has this id."""

    code = "booking_not_found"
    title = "No such booking"


class UserNotFound(Missing):
    """No account has this id."""

    code = "user_not_found"
    title = "No such user"


class Conflict(Refusal):
    """The request is sound, but not in the state things are in."""


class SoldOut(Conflict):
    """A counter has less than is claimed; carries `remaining`."""

    code = "sold_out"
    title = "Sold out"
    members: ClassVar[dict[str, Any]] = {"remaining": int}


class PerUserLimit(Conflict):
    """The account would hold more than the event lets one account hold; `limit`, `already_booked`."""

    code = "per_user_limit"
    title = "Too many tickets for one account"
    members: ClassVar[dict[str, Any]] = {"limit": int, "already_booked": int}


class NotOnSale(Conflict):
    """Sales have not opened, are paused, over, or the event is cancelled; `event_status`, `sales_open_at`."""

    code = "not_on_sale"
    title = "Not on sale"
    members: ClassVar[dict[str, Any]] = {"event_status": EventStatus, "sales_open_at": Moment | None}


class EventCancelled(Conflict):
    """A cancelled event takes no changes any more."""

    code = "event_cancelled"
    title = "The event is cancelled"


class EventOver(Conflict):
    """What took place cannot be cancelled."""

    code = "event_over"
    title = "The event is over"


class EventStarted(Conflict):
    """Its owner can cancel a booking until the event starts and its sales close, the organizer until it is over."""

    code = "event_started"
    title = "The event has started"


class CapacityBelowSold(Conflict):
    """The capacity asked for is less than what is taken; carries `sold`."""

    code = "capacity_below_sold"
    title = "Capacity is below what is sold"
    members: ClassVar[dict[str, Any]] = {"sold": int}


class EmailTaken(Conflict):
    """An account with this address exists."""

    code = "email_taken"
    title = "E-mail address is taken"


class LastAdmin(Conflict):
    """Without this account there would be no admin."""

    code = "last_admin"
    title = "The last admin stays"


class Invalid(Refusal):
    """The request breaks a rule; `errors` is a list of `{pointer, message}`."""

    code = "invalid_request"
    title = "The request breaks a rule"
    members: ClassVar[dict[str, Any]] = {"errors": list[BrokenRule]}

    @classmethod
    def at(cls, pointer: str, message: str) -> Invalid:
        """One broken rule at one JSON pointer."""
        return cls(message, errors=[{"pointer": pointer, "message": message}])


class IdempotencyKeyReused(Refusal):
    """The key has made another booking; one key, one request."""

    code = "idempotency_key_reused"
    title = "Idempotency key was used for another request"


class Unauthenticated(Refusal):
    """No token or one that cannot be used; every cause reads the same."""

    code = "unauthenticated"
    title = "Not authenticated"


class InvalidCredentials(Refusal):
    """Unknown e-mail, wrong password or banned account; every cause reads the same."""

    code = "invalid_credentials"
    title = "E-mail or password is wrong"


class Forbidden(Refusal):
    """The caller's role, or the ownership of the thing, does not allow it."""

    code = "forbidden"
    title = "Not allowed"


class OrganizerApprovalRequired(Refusal):
    """Accounts become organizers by an admin's hand here (`ORGANIZER_SIGNUP=approval`)."""

    code = "organizer_approval_required"
    title = "An admin makes organizers"


class OrganizerSignupClosed(Refusal):
    """No account becomes an organizer by itself here (`ORGANIZER_SIGNUP=closed`)."""

    code = "organizer_signup_closed"
    title = "No new organizers"


class WrongPassword(Refusal):
    """A change of the account needs its current password."""

    code = "wrong_password"
    title = "The current password is wrong"


class VersionMismatch(Refusal):
    """Somebody else changed the thing first; carries `version`."""

    code = "version_mismatch"
    title = "Somebody else was faster"
    members: ClassVar[dict[str, Any]] = {"version": int}


class RateLimited(Refusal):
    """More requests than the limit allows; carries `retry_after_seconds`."""

    code = "rate_limited"
    title = "Too many requests"
    members: ClassVar[dict[str, Any]] = {"retry_after_seconds": int, "limit": str, "quota": int, "window_seconds": int}


class Unavailable(Refusal):
    """A server is away or the inventory is being rebuilt; carries `retry_after_seconds`."""

    code = "unavailable"
    title = "Temporarily unavailable"
    members: ClassVar[dict[str, Any]] = {"retry_after_seconds": int}


class InventoryUnavailable(Unavailable):
    """Redis has no inventory of the current epoch; retry after the rebuild."""


class PersistenceLagging(Unavailable):
    """More is accepted than workers persist; carries `retry_after_seconds`."""

    code = "persistence_lagging"
    title = "Persistence is lagging"
