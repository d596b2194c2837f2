"""Events with ticket types, pools and promo codes, for tests that do not ask how an organizer makes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import structs
from sqlalchemy import insert, text

from domain.kernel.claims import SIZE_MAX
from domain.kernel.counters import pool_counter, promo_counter
from domain.sales.orders import LineOrder
from domain.sales.ticket_types import PromoCode, TicketPool, TicketType, code_key
from domain.store.postgres.tables import counters, promo_codes, ticket_pools, ticket_types
from domain.store.redis.admission import Ask
from tests.factories import make_account, make_event, until_served

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def ticket_type(event_id: UUID, name: str = "Adult", **fields: Any) -> TicketType:
    """A free ticket type."""
    return TicketType(**{"id": uuid4(), "event_id": event_id, "name": name, "created_at": CREATED_AT} | fields)


def ticket_pool(event_id: UUID, name: str = "Stalls", **fields: Any) -> TicketPool:
    """A pool without a parent."""
    return TicketPool(**{"id": uuid4(), "event_id": event_id, "name": name, "created_at": CREATED_AT} | fields)


def promo_code(event_id: UUID, code: str = "EARLY", **fields: Any) -> PromoCode:
    """A code that changes nothing."""
    return PromoCode(**{"id": uuid4(), "event_id": event_id, "code": code, "created_at": CREATED_AT} | fields)


async def sell(
    stores: Stores,
    event: Event,
    *types: TicketType,
    pools: Sequence[tuple[TicketPool, int]] = (),
    codes: Sequence[PromoCode] = (),
) -> Event:
    """Give an event ticket types, pools with their sizes, and promo codes, and put them on sale."""
    sizes = {pool_counter(pool.id): size for pool, size in pools}
    sizes |= {promo_counter(code.id): SIZE_MAX if code.max_uses is None else code.max_uses for code in codes}
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE events SET typed = true WHERE id = :id"), {"id": event.id})
        for pool, _ in pools:
            await connection.execute(insert(ticket_pools).values(structs.asdict(pool)))
        for each in types:
            await connection.execute(insert(ticket_types).values(structs.asdict(each) | {"pools": list(each.pools)}))
        for code in codes:
            types_of = None if code.ticket_type_ids is None else list(code.ticket_type_ids)
            row = structs.asdict(code) | {"code_key": code_key(code.code), "ticket_type_ids": types_of}
            await connection.execute(insert(promo_codes).values(row))
        for counter, size in sizes.items():
            await connection.execute(insert(counters).values(event_id=event.id, counter=counter, size=size, taken=0))
    return await until_served(lambda: stores.catalog.renew_terms(event.id))


async def make_priced_event(stores: Stores, **fields: Any) -> Event:
    """An event whose types may have prices, paid at an organizer's own system."""
    return await make_event(stores, **{"currency": "EUR", "payment": "external"} | fields)


async def order(
    stores: Stores,
    event: Event,
    *lines: tuple[TicketType, int],
    user_id: UUID | None = None,
    key: str | None = None,
    **fields: Any,
) -> Booking:
    """A booking of ticket types, as its buyer is told of it."""
    ask = Ask.trusted(user_id or await make_account(stores))
    chosen = tuple((each.id, quantity) for each, quantity in lines)
    wanted = LineOrder(event.id, chosen, idempotency_key=key, **fields)
    return (await stores.box_office.reserve(ask, wanted)).booking
