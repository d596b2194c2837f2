"""The rules that ticket types, pools and promo codes of an event must keep. Pure.

Each rule that is broken is a pair: the JSON pointer of the field, and what is wrong with it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from domain.sales.events import MOMENT_FIRST, MOMENT_LAST, Payment
from domain.sales.ticket_types import POOL_DEPTH_MAX, POOLS_MAX, PROMO_CODES_MAX, TICKET_TYPES_MAX, Catalogue

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from datetime import datetime
    from uuid import UUID

    from domain.sales.events import Event
    from domain.sales.ticket_types import PromoCode, TicketPool, TicketType

Broken = tuple[str, str]

NO_CURRENCY = "needs a currency and a payment of the event"


def broken_type(ticket_type: TicketType, catalogue: Catalogue, event: Event) -> Iterator[Broken]:
    """The rules that a ticket type breaks in the catalogue that it is in."""
    if len(catalogue.types) > TICKET_TYPES_MAX:
        yield "", f"An event has at most {TICKET_TYPES_MAX} ticket types"
    if ticket_type.price_minor and (event.currency is None or event.payment is Payment.NONE):
        yield "/price_minor", NO_CURRENCY
    yield from _broken_quantities(ticket_type)
    yield from _broken_window(
        {"sales_open_at": ticket_type.sales_open_at, "sales_close_at": ticket_type.sales_close_at}
    )
    yield from _broken_pools(ticket_type.pools, {each.id for each in catalogue.pools})
    yield from _broken_requirement(ticket_type, catalogue)


def broken_types(event: Event) -> Iterator[Broken]:
    """The rules that the ticket types of a new event break."""
    catalogue = event.catalogue or Catalogue(())
    for index, each in enumerate(sorted(catalogue.types, key=lambda each: each.created_at)):
        for pointer, message in broken_type(each, catalogue, event):
            yield f"/ticket_types/{index}{pointer}", message


def broken_pool(pool: TicketPool, catalogue: Catalogue) -> Iterator[Broken]:
    """The rules that a pool breaks in the catalogue that it is in."""
    if len(catalogue.pools) > POOLS_MAX:
        yield "", f"An event has at most {POOLS_MAX} pools"
    parents = {each.id: each.parent_id for each in catalogue.pools}
    if pool.parent_id is not None and pool.parent_id not in parents:
        yield "/parent_id", "The event has no such pool"
    elif _has_cycle(pool.id, parents):
        yield "/parent_id", "A pool cannot be inside itself"
    elif max(_depth(each, parents) for each in parents) > POOL_DEPTH_MAX:
        yield "/parent_id", f"Pools are nested at most {POOL_DEPTH_MAX} deep"


def broken_codes(codes: Sequence[PromoCode], catalogue: Catalogue, event: Event) -> Iterator[Broken]:
    """The rules that promo codes break that were made together, in the catalogue that they are in."""
    if len(catalogue.codes) > PROMO_CODES_MAX:
        yield "", f"An event has at most {PROMO_CODES_MAX} promo codes"
    code = codes[0]
    if code.percent_off is not None and code.amount_off_minor is not None:
        yield "/amount_off_minor", "Not allowed with percent_off"
    if code.amount_off_minor is not None and event.currency is None:
        yield "/amount_off_minor", NO_CURRENCY
    yield from _broken_window({"valid_from": code.valid_from, "valid_until": code.valid_until})
    known = {each.id for each in catalogue.types}
    for index, type_id in enumerate(code.ticket_type_ids or ()):
        if type_id not in known:
            yield f"/ticket_types/{index}", "The event has no such ticket type"


def _broken_quantities(ticket_type: TicketType) -> Iterator[Broken]:
    if ticket_type.max_per_booking < ticket_type.min_per_booking:
        yield "/max_per_booking", "must not be less than min_per_booking"
    if ticket_type.max_per_user is not None and ticket_type.max_per_user < ticket_type.min_per_booking:
        yield "/max_per_user", "must not be less than min_per_booking"


def _broken_window(window: dict[str, datetime | None]) -> Iterator[Broken]:
    for name, moment in window.items():
        if moment is not None and not MOMENT_FIRST <= moment <= MOMENT_LAST:
            yield f"/{name}", f"must be in {MOMENT_FIRST.year} to {MOMENT_LAST.year}, in UTC"
    for (first_name, first), (last_name, last) in pairwise(window.items()):
        if first is not None and last is not None and first >= last:
            yield f"/{last_name}", f"must be after {first_name}"


def _broken_pools(pools: Sequence[UUID], known: Collection[UUID]) -> Iterator[Broken]:
    for index, pool_id in enumerate(pools):
        if pool_id not in known:
            yield f"/pools/{index}", "The event has no such pool"
        elif pool_id in pools[:index]:
            yield f"/pools/{index}", "Each pool may be named once"


def _broken_requirement(ticket_type: TicketType, catalogue: Catalogue) -> Iterator[Broken]:
    required = {each.id: each.requires_type_id for each in catalogue.types}
    if ticket_type.requires_type_id is not None and ticket_type.requires_type_id not in required:
        yield "/requires_type_id", "The event has no such ticket type"
    elif _has_cycle(ticket_type.id, required):
        yield "/requires_type_id", "A ticket type cannot require itself"


def _has_cycle(first: UUID, above: dict[UUID, UUID | None]) -> bool:
    """Whether the way up from a thing leads back to it or to itself."""
    seen, at = {first}, above.get(first)
    while at is not None and at not in seen:
        seen.add(at)
        at = above.get(at)
    return at is not None


def _depth(first: UUID, parents: dict[UUID, UUID | None]) -> int:
    """How many pools there are on the way up from a pool, itself included; one more than the limit at most."""
    depth, at = 1, parents.get(first)
    while at is not None and depth <= POOL_DEPTH_MAX:
        depth, at = depth + 1, parents.get(at)
    return depth
