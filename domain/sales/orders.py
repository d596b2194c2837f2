"""Orders: what a caller asks for, and the claims that it makes by the terms of the event."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.kernel.claims import Claim
from domain.kernel.counters import POOL_MAIN, user_counter
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

    @property
    def fingerprint(self) -> str:
        """The number of tickets."""
        return plain_fingerprint(self.quantity)

    def claims(self, terms: Terms, *, account_id: UUID) -> tuple[Claim, ...]:
        """The claims: the account's own allowance first, then the pool.

        In this order, a caller that has reached its limit is told so even when the event is sold out.
        """
        return (
            Claim(user_counter(account_id), self.quantity, terms.max_per_user),
            Claim(POOL_MAIN, self.quantity, terms.sizes[POOL_MAIN]),
        )

    def shortage(self, terms: Terms, claim: Claim, *, remaining: int) -> PerUserLimit | SoldOut:
        """The refusal when the allowance or the pool has too little left."""
        if claim.counter == POOL_MAIN:
            return sold_out(remaining)
        return over_limit(terms.max_per_user, remaining=remaining)
