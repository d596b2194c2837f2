"""Bookings: their states, and the orders that they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from msgspec import Struct, structs

from domain.kernel.claims import Claim
from domain.kernel.times import to_ms

if TYPE_CHECKING:
    from domain.kernel.refusals import Refusal

FINGERPRINT_LENGTH_MAX = 64
"""Characters of an order's fingerprint."""

ALTERNATIVES_MAX = 64
"""Lists of claims of one order."""


class BookingStatus(StrEnum):
    """The state of a booking, and whether PostgreSQL has it: `pending` is confirmed, but not persisted yet."""

    HELD = "held"
    """Its claims are taken until its deadline."""
    PENDING = "pending"
    """Its tickets are taken, but PostgreSQL does not have it yet."""
    CONFIRMED = "confirmed"
    """PostgreSQL has the booking."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline passed and its claims were returned. A late confirmation may take them again."""
    REJECTED = "rejected"
    """PostgreSQL refused it and its tickets were returned; `reason` says why."""


TRANSITIONS: dict[BookingStatus, frozenset[BookingStatus]] = {
    BookingStatus.HELD: frozenset(
        {BookingStatus.PENDING, BookingStatus.CANCELLED, BookingStatus.EXPIRED, BookingStatus.REJECTED}
    ),
    BookingStatus.PENDING: frozenset({BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED}),
    BookingStatus.CONFIRMED: frozenset({BookingStatus.CANCELLED}),
    BookingStatus.EXPIRED: frozenset({BookingStatus.PENDING, BookingStatus.REJECTED}),
    BookingStatus.CANCELLED: frozenset({BookingStatus.REJECTED}),
    BookingStatus.REJECTED: frozenset(),
}
"""The states that a booking can move to.

PostgreSQL never stores `pending`: a row proves that the booking was confirmed or held. A booking that was cancelled or
expired before it was persisted becomes `rejected` if PostgreSQL refuses it.
"""

FINAL = frozenset(TRANSITIONS) - {BookingStatus.HELD, BookingStatus.PENDING}
"""States at which a client can stop polling. Only `cancelled` and `expired` may still change by themselves, to
`rejected`; and a late confirmation may confirm an expired hold."""

STORED = frozenset(TRANSITIONS) - {BookingStatus.PENDING}
"""States that PostgreSQL stores."""

HOLDING = frozenset(status for status, successors in TRANSITIONS.items() if BookingStatus.CANCELLED in successors)
"""States in which a booking holds its claims, and in which it can be cancelled."""


def may_become(status: BookingStatus) -> str:
    """The states in which a booking holds claims that it loses by becoming `status`, for a script."""
    return " ".join(sorted(before for before in HOLDING if status in TRANSITIONS[before]))


class Order(Protocol):
    """What a caller orders of an event. Only the order itself knows what its claims mean."""

    @property
    def event_id(self) -> UUID:
        """The event."""

    @property
    def quantity(self) -> int:
        """The number of tickets."""

    @property
    def idempotency_key(self) -> str | None:
        """The caller's key; a repeated order with the same key is the same order."""

    @property
    def fingerprint(self) -> str:
        """What makes two orders of an event with one key the same, at most FINGERPRINT_LENGTH_MAX characters."""

    def quote(self, terms: Any, *, account_id: UUID) -> Quote:  # noqa: ANN401  (any sale)
        """What the order claims, costs and stores by these terms.

        Raises:
            Refusal: by these terms it cannot be taken, whatever is left.
        """

    def outside(self, terms: Any, *, now_ms: int) -> Refusal:  # noqa: ANN401  (as above)
        """The refusal when it cannot be taken at this time, though it can at others."""

    def shortage(self, terms: Any, claim: Claim, *, remaining: int) -> Refusal:  # noqa: ANN401  (as above)
        """The refusal when a counter has too little left."""


class Quote(Struct, frozen=True, gc=False):
    """An order by the terms of its event.

    `alternatives` are its lists of claims, best first, at most ALTERNATIVES_MAX: the first that fits whole is taken.
    The first claim of each list is of the counter of the account, if need be of 0 units. That counter exists from the
    account's first booking of the event on, so without it no such booking exists.

    It can be taken from `opens_ms` to before `closes_ms`. Its claims are held for `hold_ms` until the booking is
    confirmed; 0 for a booking that is confirmed at once. `gate_pass` is its pass for counters with a gate, '' for none.
    `body` is stored with the booking and never read by the kernel: JSON, or '' for nothing.
    """

    alternatives: Sequence[Iterable[Claim]]
    opens_ms: int
    closes_ms: int
    hold_ms: int = 0
    gate_pass: str = ""
    body: str = ""


class NewBooking(Struct, frozen=True, gc=False):
    """A requested booking. Its claims are computed from the terms of the event at the time of the request."""

    id: UUID
    user_id: UUID
    order: Order

    @property
    def event_id(self) -> UUID:
        """The event that the order is for."""
        return self.order.event_id


class Booking(Struct, frozen=True, gc=False):
    """A booking in one version.

    `version` grows with every change; PostgreSQL keeps the highest version that it has received. `claims` is the text
    of its claims, None where it was not read. `fingerprint` is None for an order that only says how many tickets, until
    the booking is reduced. `due_at` is the deadline of a hold, also after it. `cancelled_at` is when its claims came
    back, also for an expired one. `taken_at` is since when it holds the claims that it has, None since its creation: it
    took them again after it had expired, or gave some of them back.
    """

    id: UUID
    event_id: UUID
    user_id: UUID
    quantity: int
    status: BookingStatus
    version: int
    created_at: datetime
    confirmed_at: datetime | None = None
    cancelled_at: datetime | None = None
    reason: str | None = None
    claims: str | None = None
    fingerprint: str | None = None
    due_at: datetime | None = None
    taken_at: datetime | None = None
    body: str | None = None

    @property
    def final(self) -> bool:
        """Whether its state is in FINAL, so that polling can stop."""
        return self.status in FINAL

    @property
    def known_claims(self) -> str:
        """Its claims; raises ValueError where they were not read: a booking without claims would hold nothing."""
        if self.claims is None:
            message = f"the claims of booking {self.id} were not read"
            raise ValueError(message)
        return self.claims


class Reduction(Struct, frozen=True):
    """What a booking keeps when some of its claims are given back.

    `claims` name every counter of the booking (`reduced_claims`). `body` is '' for a booking without one.
    """

    claims: str
    quantity: int
    body: str = ""


def all_of(booking: Booking) -> Reduction:
    """The reduction that gives nothing back."""
    return Reduction(booking.known_claims, booking.quantity, booking.body or "")


def as_of(booking: Booking, now_ms: int) -> Booking:
    """The booking as it is told at `now_ms`: a hold whose deadline has passed is expired, noticed or not."""
    if booking.status is BookingStatus.HELD and booking.due_at and to_ms(booking.due_at) <= now_ms:
        return structs.replace(
            booking, status=BookingStatus.EXPIRED, version=booking.version + 1, cancelled_at=booking.due_at
        )
    return booking


class Reservation(Struct, frozen=True, gc=False):
    """The result of a request for tickets: the booking, and whether an earlier request had made it."""

    booking: Booking
    replayed: bool
