"""What is left of each ticket type of an event, and whether it can be bought now. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from domain.sales.events import ROOM
from domain.sales.orders import counters_of_type
from domain.sales.ticket_types import TicketType, code_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from domain.sales.events import Terms
    from domain.sales.ticket_types import PromoCode


class TypeStatus(StrEnum):
    """Whether tickets of a type are sold now."""

    ON_SALE = "on_sale"
    SOLD_OUT = "sold_out"
    """Fewer are left than have to be bought together."""
    NOT_YET = "not_yet"
    OVER = "over"
    PAUSED = "paused"


class TypeAvailability(Struct, frozen=True, gc=False):
    """A ticket type at one moment. `remaining` is None for a type that claims no counter: it never sells out."""

    ticket_type: TicketType
    status: TypeStatus
    remaining: int | None


def types_of(terms: Terms) -> list[TicketType]:
    """The ticket types of an event, in the order in which they are shown."""
    if terms.catalogue is None:
        return [terms.general_admission]
    return sorted(terms.catalogue.types.values(), key=lambda each: (each.position, each.created_at, each.id))


def counters_of(terms: Terms) -> list[str]:
    """The counters that the tickets of an event claim, each once, and that of its room."""
    claimed = (counter for each in types_of(terms) for counter in counters_of_type(each, terms))
    return list(dict.fromkeys((ROOM, *claimed)))


def availability_of(terms: Terms, taken: Mapping[str, int], *, now_ms: int) -> list[TypeAvailability]:
    """Every ticket type of an event with what is left of it at `now_ms`, given what is taken of its counters.

    `remaining` is what the scarcest counter of the type still allows, in tickets of the type's weight.
    """
    left = {counter: max(0, terms.sizes[counter] - taken.get(counter, 0)) for counter in counters_of(terms)}
    return [_type_availability(each, terms, left, now_ms=now_ms) for each in types_of(terms)]


def _type_availability(
    ticket_type: TicketType, terms: Terms, left: Mapping[str, int], *, now_ms: int
) -> TypeAvailability:
    remaining = min(
        (left[counter] // ticket_type.weight for counter in counters_of_type(ticket_type, terms)), default=None
    )
    return TypeAvailability(ticket_type, _status(ticket_type, terms, remaining, now_ms=now_ms), remaining)


def _status(ticket_type: TicketType, terms: Terms, remaining: int | None, *, now_ms: int) -> TypeStatus:
    opens_ms, closes_ms = ticket_type.window_ms
    if terms.cancelled or terms.closed or now_ms >= min(closes_ms, terms.closes_ms):
        return TypeStatus.OVER
    if terms.paused:
        return TypeStatus.PAUSED
    if now_ms < max(opens_ms, terms.opens_ms):
        return TypeStatus.NOT_YET
    if remaining is not None and remaining < ticket_type.min_per_booking:
        return TypeStatus.SOLD_OUT
    return TypeStatus.ON_SALE


def find_code(terms: Terms, code: str, *, now_ms: int) -> PromoCode | None:
    """The promo code of an event with this text, if it can be used at `now_ms`."""
    found = terms.catalogue and terms.catalogue.codes.get(code_key(code))
    if not found:
        return None
    begins_ms, ends_ms = found.window_ms
    return found if begins_ms <= now_ms < ends_ms else None


def is_visible(ticket_type: TicketType, code: PromoCode | None) -> bool:
    """Whether a buyer with this promo code, or with none, may see a ticket type."""
    return not ticket_type.hidden or bool(code and code.unlocks_hidden and code.is_for(ticket_type.id))
