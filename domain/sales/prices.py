"""What an order costs: the sums of its lines, and the discount of its promo code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.sales.money import amount_off, percent_off
from domain.sales.order_body import OrderLine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.sales.ticket_types import PromoCode, TicketType


def price_lines(chosen: Sequence[tuple[TicketType, int]], code: PromoCode | None) -> tuple[OrderLine, ...]:
    """The lines of an order at today's prices. A percentage is rounded once per line, an amount is off the order."""
    sums = [ticket_type.price_minor * quantity for ticket_type, quantity in chosen]
    discounts = _discounts([ticket_type for ticket_type, _ in chosen], sums, code)
    return tuple(
        OrderLine(ticket_type.id, ticket_type.name, quantity, ticket_type.price_minor, discount, line_sum - discount)
        for (ticket_type, quantity), line_sum, discount in zip(chosen, sums, discounts, strict=True)
    )


def _discounts(types: Sequence[TicketType], sums: Sequence[int], code: PromoCode | None) -> Sequence[int]:
    if code is None:
        return [0] * len(sums)
    reduced = [line_sum if code.is_for(each.id) else 0 for each, line_sum in zip(types, sums, strict=True)]
    if code.percent_off is not None:
        return [percent_off(line_sum, code.percent_off) for line_sum in reduced]
    return amount_off(code.amount_off_minor or 0, reduced)
