"""Reductions: what a booking keeps of its lines, and which of its claims it gives back."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import structs

from domain.kernel.bookings import Reduction
from domain.kernel.claims import read_claims, reduced_claims
from domain.kernel.counters import (
    POOL_MAIN,
    pool_counter,
    promo_counter,
    promo_user_counter,
    user_counter,
    user_type_counter,
)
from domain.sales.money import kept_minor
from domain.sales.order_body import body_of, write_body
from domain.sales.refusals import more_than_booked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from domain.kernel.bookings import Booking
    from domain.sales.order_body import OrderLine, PricedOrder, ReducedBy
    from domain.sales.ticket_types import CatalogueIndex, TicketType


def reduce_lines(
    booking: Booking, lines: Sequence[tuple[UUID, int]], catalogue: CatalogueIndex, *, by: ReducedBy
) -> Reduction:
    """What a booking keeps: these tickets, as pairs of a ticket type's id and a quantity. All others are given back.

    A line costs what its first tickets cost when it was booked. The use of a promo code is given back with the last
    ticket that it has made cheaper. `catalogue` has every ticket type of the event, also those that are archived: the
    pools and the weight of a type do not change once it is booked.

    Raises:
        MoreThanBooked: the booking has fewer tickets of a type.
    """
    body, wanted = body_of(booking), dict(lines)
    booked = {line.ticket_type_id: line.quantity for line in body.items}
    for type_id, quantity in lines:
        if quantity > booked.get(type_id, 0):
            raise more_than_booked(type_id, booked.get(type_id, 0))
    kept = structs.replace(_kept_body(body, wanted), reduced_by=by)
    returned = _returned(booking, body, kept, catalogue)
    claims = {
        counter: max(0, units - returned[counter]) for counter, units in read_claims(booking.known_claims).items()
    }
    return Reduction(
        reduced_claims(booking.known_claims, claims),
        sum(line.quantity for line in kept.items),
        write_body(kept) if booking.body else "",
    )


def _kept_body(body: PricedOrder, wanted: dict[UUID, int]) -> PricedOrder:
    lines = ((line, wanted.get(line.ticket_type_id, 0)) for line in body.items)
    items = tuple(_kept_line(line, quantity) for line, quantity in lines if quantity)
    kept = structs.replace(body, items=items, total_minor=sum(line.sum_minor for line in items))
    return structs.replace(kept, promo_code_id=None, promo_code=None) if _returns_code(body, kept) else kept


def _kept_line(line: OrderLine, quantity: int) -> OrderLine:
    sum_minor = kept_minor(line.sum_minor, quantity=line.quantity, kept=quantity)
    discount_minor = line.unit_price_minor * quantity - sum_minor
    return structs.replace(line, quantity=quantity, discount_minor=discount_minor, sum_minor=sum_minor)


def _returns_code(body: PricedOrder, kept: PricedOrder) -> bool:
    """Whether the last ticket is given back that a promo code has made cheaper. A code without a discount is kept."""
    return any(line.discount_minor for line in body.items) and not any(line.discount_minor for line in kept.items)


def _returned(booking: Booking, body: PricedOrder, kept: PricedOrder, catalogue: CatalogueIndex) -> Counter[str]:
    """The claims of the tickets that are given back. A booking gives back no more than it has."""
    left = {line.ticket_type_id: line.quantity for line in kept.items}
    returned: Counter[str] = Counter()
    for line in body.items:
        ticket_type = catalogue.types[line.ticket_type_id]
        for counter, units in _claims_of_ticket(ticket_type, catalogue, booking.user_id).items():
            returned[counter] += units * (line.quantity - left.get(line.ticket_type_id, 0))
    if body.promo_code_id and kept.promo_code_id is None:
        returned[promo_counter(body.promo_code_id)] += 1
        returned[promo_user_counter(body.promo_code_id, booking.user_id)] += 1
    return returned


def _claims_of_ticket(ticket_type: TicketType, catalogue: CatalogueIndex, user_id: UUID) -> dict[str, int]:
    """What a ticket of a type claims, also where its booking does not: a comp claims no allowance."""
    pools = {pool_counter(pool_id): ticket_type.weight for pool_id in catalogue.pools_of(ticket_type)}
    room = {POOL_MAIN: ticket_type.weight} if ticket_type.takes_room else {}
    allowance = {user_counter(user_id): 1} if ticket_type.counts_for_max_per_user else {}
    return pools | room | allowance | {user_type_counter(user_id, ticket_type.id): 1}
