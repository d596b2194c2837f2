"""Comps: free tickets that an organizer gives to somebody else."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.kernel.bookings import Quote
from domain.kernel.claims import Claim
from domain.kernel.counters import user_counter
from domain.sales.order_body import OrderLine, PricedOrder, write_body
from domain.sales.orders import counters_of_type, known_type
from domain.sales.refusals import not_on_sale, sold_out, ticket_type_not_found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.kernel.refusals import Refusal
    from domain.sales.events import Terms
    from domain.sales.ticket_types import TicketType


class CompOrder(Struct, frozen=True, gc=False):
    """An order of free tickets for a guest, in the organizer's name: pairs of a ticket type's id and a quantity.

    It takes tickets of the event and of the pools of their types, but nothing of the organizer's allowance. Prices,
    minimums, windows and hidden types are for buyers; comps can be given from before sales open until they close.
    """

    event_id: UUID
    lines: tuple[tuple[UUID, int], ...]
    guest_email: str
    guest_name: str | None = None
    idempotency_key: str | None = None

    @property
    def quantity(self) -> int:
        """The number of tickets."""
        return sum(quantity for _, quantity in self.lines)

    @property
    def fingerprint(self) -> str:
        """All that is ordered, and for whom."""
        ordered = (self.lines, self.guest_email, self.guest_name)
        return blake2b(msgspec.json.encode(ordered), digest_size=16).hexdigest()

    def quote(self, terms: Terms, *, account_id: UUID) -> Quote:
        """Its claims, and its lines and its guest as its body.

        Raises:
            TicketTypeNotFound.
        """
        chosen = self._chosen(terms)
        items = tuple(OrderLine(each.id, each.name, quantity, 0, 0, 0) for each, quantity in chosen)
        body = PricedOrder(items=items, total_minor=0, guest_email=self.guest_email, guest_name=self.guest_name)
        _, closes_ms = terms.window_ms
        return Quote((list(_claims(chosen, terms, account_id)),), 0, closes_ms, body=write_body(body))

    def outside(self, terms: Terms, *, now_ms: int) -> Refusal:
        """The refusal after sales have closed, and while they are paused."""
        return not_on_sale(terms, now_ms=now_ms)

    def shortage(self, terms: Terms, claim: Claim, *, remaining: int) -> Refusal:
        """The refusal when a pool or the event has too little left: it names the first line that claims it."""
        chosen = self._chosen(terms)
        short = next(each for each, _ in chosen if claim.counter in counters_of_type(each, terms))
        return sold_out(max(0, remaining) // short.weight, ticket_type=short)

    def _chosen(self, terms: Terms) -> list[tuple[TicketType, int]]:
        chosen = [(known_type(terms, type_id), quantity) for type_id, quantity in self.lines]
        known = [(each, quantity) for each, quantity in chosen if each is not None]
        if len(known) < len(chosen):
            raise ticket_type_not_found()
        return known


def comp_key(caller_id: UUID, key: str | None) -> str | None:
    """The key of a comp among those of its organizer: with spaces, which no key in a request has.

    So the keys of comps are apart from those of the organizer's own bookings, and those of admins from both.
    """
    return None if key is None else f"comp {caller_id.hex} {key}"


def _claims(chosen: list[tuple[TicketType, int]], terms: Terms, account_id: UUID) -> Iterator[Claim]:
    yield Claim(user_counter(account_id), 0, terms.max_per_user)
    for ticket_type, quantity in chosen:
        for counter in counters_of_type(ticket_type, terms):
            yield Claim(counter, ticket_type.weight * quantity, terms.sizes[counter])
