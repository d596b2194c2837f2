"""Orders of any counters, for tests of the code that treats every counter alike."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.kernel.bookings import Quote
from domain.kernel.claims import OWN, SINGLE_SIZE, Claim, is_single
from domain.kernel.counters import user_counter
from domain.kernel.refusals import NotOnSale, SoldOut
from domain.sales.refusals import not_on_sale

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Protocol

    class Sizes(Protocol):
        """What an order needs of an event's terms."""

        sizes: Mapping[str, int]
        max_per_user: int


UNLISTED_SIZE = 3
"""The size of a counter that the event does not have, unless it is a single."""


class AnyOrder(Struct, frozen=True, gc=False):
    """An order that claims `units` of counters: pairs of a name and a number; a name may occur more than once.

    In a name, OWN stands for the account. `allowance` is claimed of the account's own counter. With `one_more_if_odd`,
    one more unit is claimed of a counter whose size is odd and not by definition, so that other terms give other
    claims. `others` are further lists of units, in case that the first does not fit.
    """

    event_id: UUID
    units: tuple[tuple[str, int], ...]
    quantity: int = 1
    idempotency_key: str | None = None
    allowance: int = 0
    one_more_if_odd: bool = False
    others: tuple[tuple[tuple[str, int], ...], ...] = ()
    hold_ms: int = 0
    gate_pass: str = ""
    body: str = ""

    @property
    def fingerprint(self) -> str:
        """All that is ordered."""
        ordered = (self.units, self.others, self.quantity, self.allowance, self.one_more_if_odd, self.hold_ms)
        return sha256(repr(ordered).encode()).hexdigest()

    def quote(self, terms: Sizes, *, account_id: UUID) -> Quote:
        """The order while the event is on sale."""
        opens_ms, closes_ms = terms.window_ms
        claims = self.alternatives(terms, account_id=account_id)
        return Quote(claims, opens_ms, closes_ms, self.hold_ms, self.gate_pass, self.body)

    def outside(self, terms: Sizes, *, now_ms: int) -> NotOnSale:
        """The refusal outside of the sales period."""
        return not_on_sale(terms, now_ms=now_ms)

    def alternatives(self, terms: Sizes, *, account_id: UUID) -> list[Iterable[Claim]]:
        """The claims, each counter as often as it is named."""
        return [self._claims(units, terms, account_id=account_id) for units in (self.units, *self.others)]

    def _claims(self, units: Iterable[tuple[str, int]], terms: Sizes, *, account_id: UUID) -> Iterable[Claim]:
        yield Claim(user_counter(account_id), self.allowance, terms.max_per_user)
        for name, number in units:
            size = SINGLE_SIZE if is_single(name) else terms.sizes.get(name, UNLISTED_SIZE)
            more = size % 2 if self.one_more_if_odd and not is_single(name) else 0
            yield Claim(name.replace(OWN, account_id.hex), number + more, size)

    def shortage(self, terms: Sizes, claim: Claim, *, remaining: int) -> SoldOut:  # noqa: ARG002  (an order's signature)
        """The refusal; its detail names the counter."""
        return SoldOut(claim.counter, remaining=remaining)
