"""Orders: what a caller asks for, and the claims that it makes by the terms of the event."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from domain.kernel.bookings import Quote
from domain.kernel.claims import SINGLE_SIZE, SIZE_MAX, Claim, claims_text, is_single, read_claims
from domain.kernel.counters import (
    HOLDS_PREFIX,
    POOL_MAIN,
    PROMO_PREFIX,
    USER_PREFIX,
    holds_counter,
    pool_counter,
    promo_counter,
    promo_user_counter,
    user_counter,
    user_type_counter,
)
from domain.kernel.idempotency import plain_fingerprint
from domain.kernel.refusals import Invalid
from domain.sales.money import ORDER_TICKETS_MAX
from domain.sales.order_body import PricedOrder, read_body, write_body
from domain.sales.prices import price_lines
from domain.sales.refusals import (
    below_minimum,
    not_on_sale,
    over_limit,
    over_maximum,
    price_changed,
    promo_code_invalid,
    promo_code_not_for_this,
    promo_code_used_up,
    sold_out,
    ticket_type_not_found,
    too_many_holds,
    type_not_on_sale,
)
from domain.sales.ticket_types import code_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from domain.kernel.bookings import Booking
    from domain.kernel.refusals import Refusal
    from domain.sales.events import Terms
    from domain.sales.ticket_types import PromoCode, TicketType

LINES_MAX = 20
"""Lines of one order."""

TICKETS_MAX = ORDER_TICKETS_MAX

CLOCK_LEEWAY_MS = 5_000
"""How wrong the clock of a host can be: a host that is further from both servers is not ready."""

_ITEMS = "/items"


class TicketOrder(Struct, frozen=True, gc=False):
    """An order of `quantity` tickets of an event that has one free ticket type."""

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

    def quote(self, terms: Terms, *, account_id: UUID) -> Quote:
        """Its claims. Nothing is stored with it.

        Raises:
            Invalid: the event has several ticket types, or its type has a price.
        """
        if terms.catalogue is not None:
            return self.of_only_type(terms).quote(terms, account_id=account_id)
        opens_ms, closes_ms = terms.window_ms
        claims = self.alternatives(terms, account_id=account_id)
        return Quote(claims, opens_ms, closes_ms, self.hold_ms, self.gate_pass, self.body)

    def alternatives(self, terms: Terms, *, account_id: UUID) -> tuple[tuple[Claim, ...], ...]:
        """The only list of claims: the account's own allowance first, then the pool.

        In this order, a caller that has reached its limit is told so even when the event is sold out.
        """
        allowance = Claim(user_counter(account_id), self.quantity, terms.max_per_user)
        return ((allowance, Claim(POOL_MAIN, self.quantity, terms.sizes[POOL_MAIN])),)

    def outside(self, terms: Terms, *, now_ms: int) -> Refusal:
        """The refusal outside of the sales period."""
        if terms.catalogue is not None:
            return self.of_only_type(terms).outside(terms, now_ms=now_ms)
        return not_on_sale(terms, now_ms=now_ms)

    def shortage(self, terms: Terms, claim: Claim, *, remaining: int) -> Refusal:
        """The refusal when the allowance or the pool has too little left."""
        if terms.catalogue is not None:
            return self.of_only_type(terms).shortage(terms, claim, remaining=remaining)
        if claim.counter == POOL_MAIN:
            return sold_out(remaining)
        return over_limit(terms.max_per_user, remaining=remaining)

    def of_only_type(self, terms: Terms) -> LineOrder:
        """The same order by the only ticket type that everybody sees; raises Invalid."""
        seen = [] if terms.catalogue is None else [each for each in terms.catalogue.types.values() if not each.hidden]
        if len(seen) != 1 or seen[0].price_minor:
            message = "Required: the event has several ticket types, or a price. Say how many tickets of which type"
            raise Invalid.at(_ITEMS, message)
        return LineOrder(self.event_id, ((seen[0].id, self.quantity),), idempotency_key=self.idempotency_key)


class LineOrder(Struct, frozen=True, gc=False):
    """An order of tickets by type: pairs of a type's id and a quantity, each type once, with at most one promo code.

    A free order is confirmed at once, unless `hold` asks for a hold; an order with a price is held until it is paid.
    `expect_total_minor` is the total that the buyer was shown.
    """

    event_id: UUID
    lines: tuple[tuple[UUID, int], ...]
    idempotency_key: str | None = None
    promo_code: str | None = None
    hold: bool = False
    expect_total_minor: int | None = None

    @property
    def quantity(self) -> int:
        """The number of tickets."""
        return sum(quantity for _, quantity in self.lines)

    @property
    def fingerprint(self) -> str:
        """All that is ordered. An order of general admission is the same as one that only says how many tickets."""
        if self._is_plain:
            return plain_fingerprint(self.quantity)
        code = None if self.promo_code is None else code_key(self.promo_code)
        return blake2b(msgspec.json.encode((self.lines, code, self.hold)), digest_size=16).hexdigest()

    @property
    def _is_plain(self) -> bool:
        return self.promo_code is None and not self.hold and len(self.lines) == 1 and self.lines[0][0] == self.event_id

    def check_code(self, terms: Terms, *, now_ms: int) -> None:
        """Refuse a promo code that surely cannot be used at this time, before anything else is looked at.

        So the refusal does not tell it from a code that the event does not have. Close to the ends of the code's
        window, where the clock of this host may be wrong, only the script decides.

        Raises:
            PromoCodeInvalid.
        """
        code = self._code(terms)
        if code and not code.window_ms[0] - CLOCK_LEEWAY_MS <= now_ms < code.window_ms[1] + CLOCK_LEEWAY_MS:
            raise promo_code_invalid()

    def quote(self, terms: Terms, *, account_id: UUID) -> Quote:
        """Its claims, its prices as its body, and how long it is held.

        Raises:
            TicketTypeNotFound, BelowMinimum, AboveMaximum, PromoCodeInvalid, PromoCodeNotForThis, PriceChanged.
        """
        code = self._code(terms)
        chosen = self._chosen(terms, code)
        body = _body(chosen, code, terms)
        if self.expect_total_minor not in {None, body.total_minor}:
            raise price_changed(body.total_minor, terms.currency)
        held = self.hold or body.total_minor > 0
        opens_ms, closes_ms = _window_ms(terms, [each for each, _ in chosen], code)
        return Quote(
            (list(_claims(chosen, code, terms, account_id, held=held)),),
            opens_ms,
            closes_ms,
            terms.hold_seconds * 1000 if held else 0,
            body="" if self._is_plain and not held else write_body(body),
        )

    def outside(self, terms: Terms, *, now_ms: int) -> Refusal:
        """The refusal outside of the sales of the event, of a ticket type, or of the time of the code."""
        code = self._code(terms)
        for ticket_type, _ in self._chosen(terms, code):
            if not _is_within(ticket_type.window_ms, now_ms) and _is_within(terms.window_ms, now_ms):
                return type_not_on_sale(ticket_type, now_ms=now_ms)
        if code and not _is_within(code.window_ms, now_ms):
            return promo_code_invalid()
        return not_on_sale(terms, now_ms=now_ms)

    def shortage(self, terms: Terms, claim: Claim, *, remaining: int) -> Refusal:
        """The refusal when a counter has too little left: it names the first line that claims it."""
        code = self._code(terms)
        if claim.counter.startswith(HOLDS_PREFIX):
            return too_many_holds(claim.size)
        if claim.counter.startswith(PROMO_PREFIX):
            return promo_code_used_up()
        chosen = self._chosen(terms, code)
        if claim.counter.startswith(USER_PREFIX):
            _, _, type_hex = claim.counter[len(USER_PREFIX) :].partition(":")
            short = next((each for each, _ in chosen if each.id.hex == type_hex), None)
            return over_limit(claim.size, remaining=remaining, ticket_type=short)
        short, units = next((each, each.weight) for each, _ in chosen if claim.counter in counters_of_type(each, terms))
        missing = (claim.counter, claim.quantity - remaining)
        return sold_out(max(0, remaining) // units, ticket_type=short, missing=missing)

    def _code(self, terms: Terms) -> PromoCode | None:
        if self.promo_code is None:
            return None
        found = terms.catalogue and terms.catalogue.codes.get(code_key(self.promo_code))
        if not found:
            raise promo_code_invalid()
        return found

    def _chosen(self, terms: Terms, code: PromoCode | None) -> list[tuple[TicketType, int]]:
        """The ticket types of the lines, in their order; raises a refusal for a line that cannot be booked."""
        chosen = [(_type(terms, type_id, code), quantity) for type_id, quantity in self.lines]
        for ticket_type, quantity in chosen:
            if quantity < ticket_type.min_per_booking:
                raise below_minimum(ticket_type)
            if quantity > ticket_type.max_per_booking:
                raise over_maximum(ticket_type)
        if code and not any(code.is_for(each.id) for each, _ in chosen):
            raise promo_code_not_for_this()
        return chosen

    def missing_requirements(self, terms: Terms) -> dict[UUID, TicketType]:
        """Ticket types that the order needs and does not contain, each with one that needs it."""
        chosen = [known_type(terms, type_id) for type_id, _ in self.lines]
        there = {type_id for type_id, _ in self.lines}
        requiring = [(each.requires_type_id, each) for each in chosen if each and each.requires_type_id]
        return {type_id: each for type_id, each in requiring if type_id not in there}


def confirmed_claims(claims: str, terms: Terms) -> tuple[list[Claim], str]:
    """The claims of a hold once it is confirmed, with their sizes by these terms, and those that end with the hold."""
    kept: list[Claim] = []
    returned: list[Claim] = []
    for counter, quantity in read_claims(claims).items():
        claim = Claim(counter, quantity, _size(counter, terms))
        (returned if counter.startswith(HOLDS_PREFIX) else kept).append(claim)
    return kept, claims_text(returned)


def late_window_ms(booking: Booking, terms: Terms) -> tuple[int, int]:
    """When the tickets of a booking can be taken again: while the event and each of its ticket types are on sale."""
    if not booking.body:
        return terms.window_ms
    types = [known_type(terms, line.ticket_type_id) for line in read_body(booking.body).items]
    if None in types:
        return (0, 0)
    return _window_ms(terms, [each for each in types if each], None)


def _type(terms: Terms, type_id: UUID, code: PromoCode | None) -> TicketType:
    """A ticket type that a buyer may see; raises TicketTypeNotFound."""
    found = known_type(terms, type_id)
    if found is None or (found.hidden and not (code and code.unlocks(type_id))):
        raise ticket_type_not_found()
    return found


def known_type(terms: Terms, type_id: UUID) -> TicketType | None:
    """A ticket type that the event sells, hidden or not; None if it has none with this id."""
    if terms.catalogue is None:
        return terms.general_admission if type_id == terms.event_id else None
    return terms.catalogue.types.get(type_id)


def _body(chosen: Sequence[tuple[TicketType, int]], code: PromoCode | None, terms: Terms) -> PricedOrder:
    items = price_lines(chosen, code)
    return PricedOrder(
        items=items,
        total_minor=sum(line.sum_minor for line in items),
        currency=terms.currency,
        promo_code_id=code.id if code else None,
        promo_code=code.code if code else None,
    )


def _claims(
    chosen: Sequence[tuple[TicketType, int]], code: PromoCode | None, terms: Terms, account_id: UUID, *, held: bool
) -> Iterator[Claim]:
    """The claims of an order; a refusal names the first of them that is short."""
    counted = sum(quantity for each, quantity in chosen if each.counts_for_max_per_user)
    yield Claim(user_counter(account_id), counted, terms.max_per_user)
    for ticket_type, quantity in chosen:
        if ticket_type.max_per_user is not None:
            yield Claim(user_type_counter(account_id, ticket_type.id), quantity, ticket_type.max_per_user)
    if held:
        yield Claim(holds_counter(account_id), 1, terms.max_holds_per_user)
    if code:
        yield Claim(promo_counter(code.id), 1, SIZE_MAX if code.max_uses is None else code.max_uses)
        if code.max_uses_per_user is not None:
            yield Claim(promo_user_counter(code.id, account_id), 1, code.max_uses_per_user)
    for ticket_type, quantity in chosen:
        for counter in counters_of_type(ticket_type, terms):
            yield Claim(counter, ticket_type.weight * quantity, terms.sizes[counter])


def counters_of_type(ticket_type: TicketType, terms: Terms) -> list[str]:
    """The counters that a ticket of a type claims, the narrowest first; found once for all orders by these terms."""
    known = terms.claimed.get(ticket_type.id)
    if known is None:
        pools = terms.catalogue.pools_of(ticket_type) if terms.catalogue else ()
        known = [pool_counter(pool_id) for pool_id in pools] + ([POOL_MAIN] if ticket_type.takes_room else [])
        terms.claimed[ticket_type.id] = known
    return known


def _window_ms(terms: Terms, types: Sequence[TicketType], code: PromoCode | None) -> tuple[int, int]:
    opens_ms, closes_ms = terms.window_ms
    for begins_ms, ends_ms in (each.window_ms for each in types):
        opens_ms, closes_ms = max(opens_ms, begins_ms), min(closes_ms, ends_ms)
    if code is not None:
        begins_ms, ends_ms = code.window_ms
        opens_ms, closes_ms = max(opens_ms, begins_ms), min(closes_ms, ends_ms)
    return opens_ms, closes_ms


def _is_within(window_ms: tuple[int, int], now_ms: int) -> bool:
    return window_ms[0] <= now_ms < window_ms[1]


def _size(counter: str, terms: Terms) -> int:
    """The size of a counter that a booking claims already."""
    if is_single(counter):
        return SINGLE_SIZE
    if counter in terms.sizes:
        return terms.sizes[counter]
    kind, _, owner = counter.partition(":")
    first, _, second = owner.partition(":")
    match kind + ":":
        case prefix if prefix == USER_PREFIX and not second:
            return terms.max_per_user
        case prefix if prefix == USER_PREFIX:
            types = terms.catalogue.types.values() if terms.catalogue else ()
            limited = next((each for each in types if each.id.hex == second), None)
            return SIZE_MAX if limited is None or limited.max_per_user is None else limited.max_per_user
        case prefix if prefix == PROMO_PREFIX and second and terms.catalogue:
            code = next((each for each in terms.catalogue.codes.values() if each.id.hex == first), None)
            return SIZE_MAX if code is None or code.max_uses_per_user is None else code.max_uses_per_user
        case _:
            return SIZE_MAX


def check_order(lines: Sequence[tuple[UUID, int]]) -> Iterator[tuple[str, str]]:
    """The rules that the lines of an order break: a JSON pointer, and what is wrong there."""
    seen: set[UUID] = set()
    for index, (type_id, _) in enumerate(lines):
        if type_id in seen:
            yield f"/items/{index}/ticket_type_id", "Each ticket type may be named once"
        seen.add(type_id)
    if sum(quantity for _, quantity in lines) > TICKETS_MAX:
        yield "/items", f"At most {TICKETS_MAX} tickets in one order"
