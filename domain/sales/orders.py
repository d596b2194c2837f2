"""Orders: what a caller asks for, and the claims that it makes by the terms of the event."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.kernel.claims import SINGLE_SIZE, SIZE_MAX, Claim, claims_text, is_single, read_claims
from domain.kernel.counters import HOLDS_PREFIX, POOL_MAIN, USER_PREFIX, user_counter
from domain.kernel.idempotency import plain_fingerprint
from domain.sales.refusals import over_limit, sold_out

if TYPE_CHECKING:
    from domain.kernel.refusals import PerUserLimit, SoldOut
    from domain.sales.events import Terms


class TicketOrder(Struct, frozen=True, gc=False):
    """An order of `quantity` tickets of an event, for which there is one pool."""

    event_id: UUID
    quantity: int
    idempotency_key: str | None = None
    hold_ms: int = 0
    gate_pass: str = ""
    body: str = ""

    @property
    def fingerprint(self) -> str:
        """The number of tickets."""
        return plain_fingerprint(self.quantity)

    def alternatives(self, terms: Terms, *, account_id: UUID) -> tuple[tuple[Claim, ...], ...]:
        """The only list of claims: the account's own allowance first, then the pool.

        In this order, a caller that has reached its limit is told so even when the event is sold out.
        """
        allowance = Claim(user_counter(account_id), self.quantity, terms.max_per_user)
        return ((allowance, Claim(POOL_MAIN, self.quantity, terms.sizes[POOL_MAIN])),)

    def shortage(self, terms: Terms, claim: Claim, *, remaining: int) -> PerUserLimit | SoldOut:
        """The refusal when the allowance or the pool has too little left."""
        if claim.counter == POOL_MAIN:
            return sold_out(remaining)
        return over_limit(terms.max_per_user, remaining=remaining)


def confirmed_claims(claims: str, terms: Terms) -> tuple[list[Claim], str]:
    """The claims of a hold once it is confirmed, with their sizes by these terms, and those that end with the hold."""
    kept: list[Claim] = []
    returned: list[Claim] = []
    for counter, quantity in read_claims(claims).items():
        claim = Claim(counter, quantity, _size(counter, terms))
        (returned if counter.startswith(HOLDS_PREFIX) else kept).append(claim)
    return kept, claims_text(returned)


def _size(counter: str, terms: Terms) -> int:
    if is_single(counter):
        return SINGLE_SIZE
    return terms.sizes.get(counter, terms.max_per_user if counter.startswith(USER_PREFIX) else SIZE_MAX)
