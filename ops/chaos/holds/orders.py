"""Orders of tickets together with any further counters, held or not."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.kernel.bookings import Quote, Reduction
from domain.kernel.claims import OWN, Claim, read_claims, reduced_claims
from domain.kernel.counters import POOL_MAIN, holds_counter, user_counter
from domain.kernel.refusals import NotOnSale, SoldOut
from domain.sales.refusals import not_on_sale

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domain.kernel.bookings import Booking
    from domain.sales.events import Terms
    from ops.evidence.answers import Answer

LISTED = {"pool:vip": 3, "code:early": 6, "pool:balcony": 40, "pool:guests": 30}
"""The further counters that each event of a trial lists, with their sizes."""

GATES = {"pool:guests": "on-the-list"}
"""The counters with a gate, and its pass."""

COUNTERS = {f"seat:A-{number}": 1 for number in range(1, 9)} | LISTED
"""All further counters, with their sizes: most are so small that buyers compete for them."""

HOLDS_MAX = 4
"""Holds that one account may have of an event at once."""

ALTERNATIVE = "|"
"""Separates lists of claims in `Answer.units`."""


TICKET_MINOR = 1_000
"""What a ticket of a booking with a price costs, in cents."""


def price_body(tickets: int) -> str:
    """The body of a booking of so many tickets with a price."""
    return msgspec.json.encode({"items": [], "total_minor": tickets * TICKET_MINOR, "currency": "EUR"}).decode()


def reduced_to(booking: Booking, quantity: int) -> Reduction:
    """What a booking keeps that is reduced to so many tickets: as many units of each counter, or what it has."""
    kept = {counter: min(units, quantity) for counter, units in read_claims(booking.known_claims).items()}
    left = min(quantity, booking.quantity)
    return Reduction(reduced_claims(booking.known_claims, kept), left, price_body(left) if booking.body else "")


class CountersOrder(Struct, frozen=True, gc=False):
    """An order of `quantity` tickets and of `units`: lists of claims of further counters, of which one is taken."""

    event_id: UUID
    quantity: int
    idempotency_key: str | None
    units: str
    hold_ms: int = 0
    gate_pass: str = ""

    @property
    def body(self) -> str:
        """Every second hold has a price, unless its order has a pass, which a payment would not have."""
        priced = self.hold_ms and self.hold_ms % 2 == 0 and not self.gate_pass
        return price_body(self.quantity) if priced else ""

    @classmethod
    def of(cls, request: Answer) -> CountersOrder:
        """The order that a request sends."""
        if request.event is None:
            message = "an order names its event"
            raise ValueError(message)
        return cls(
            request.event, request.quantity, request.key, request.units, request.hold_ms, gate_pass=request.gate_pass
        )

    @property
    def fingerprint(self) -> str:
        """All that is ordered, without the pass."""
        return sha256(f"{self.quantity} {self.units} {self.hold_ms}".encode()).hexdigest()

    def quote(self, terms: Terms, *, account_id: UUID) -> Quote:
        """The order while the event is on sale."""
        opens_ms, closes_ms = terms.window_ms
        claims = self.alternatives(terms, account_id=account_id)
        return Quote(claims, opens_ms, closes_ms, self.hold_ms, self.gate_pass, self.body)

    def outside(self, terms: Terms, *, now_ms: int) -> NotOnSale:
        """The refusal outside of the sales period."""
        return not_on_sale(terms, now_ms=now_ms)

    def alternatives(self, terms: Terms, *, account_id: UUID) -> list[Iterable[Claim]]:
        """Each list of units, with the tickets and the account's allowances before them.

        Cached terms may be older than a counter; the inventory then refuses them, and the order is tried again.
        """
        return [self._claims(units, terms, account_id) for units in self.units.split(ALTERNATIVE)]

    def _claims(self, units: str, terms: Terms, account_id: UUID) -> Iterable[Claim]:
        yield Claim(user_counter(account_id), self.quantity, terms.max_per_user)
        if self.hold_ms:
            yield Claim(holds_counter(account_id), 1, HOLDS_MAX)
        yield Claim(POOL_MAIN, self.quantity, terms.sizes[POOL_MAIN])
        for counter, number in read_claims(units).items():
            yield Claim(counter.replace(OWN, account_id.hex), number, terms.sizes.get(counter, COUNTERS[counter]))

    def shortage(self, terms: Terms, claim: Claim, *, remaining: int) -> SoldOut:  # noqa: ARG002  (an order's signature)
        """The refusal, whatever is short; its detail names the counter."""
        return SoldOut(claim.counter, remaining=remaining)
