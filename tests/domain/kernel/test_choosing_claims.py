"""Which claims a reservation may take: gates, and the first list that fits."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from domain.background.audit import audit
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import POOL_MAIN
from domain.kernel.refusals import HoldExpired, SoldOut
from domain.store.redis.admission import Ask
from tests.books import counters
from tests.domain.kernel.orders import AnyOrder
from tests.factories import (
    make_account,
    make_due,
    make_event,
    place_counters,
)
from tests.waiting import persist_all

HELD, PENDING, CONFIRMED, CANCELLED, EXPIRED = (
    BookingStatus.HELD,
    BookingStatus.PENDING,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
    BookingStatus.EXPIRED,
)


async def in_order(stores):
    """Whether reconciliation and the audit find nothing."""
    return await reconcile(stores) == [] and all(books.in_order for books in await audit(stores))


async def test_a_gate_lets_only_requests_with_its_pass_take(stores):
    event = await make_event(stores)
    await place_counters(stores, event.id, **{"pool:vip": 5})
    async with stores.database.begin() as connection:
        gated = "UPDATE counters SET gate = 'let-me-in' WHERE event_id = :id AND counter = 'pool:vip'"
        await connection.execute(text(gated), {"id": event.id})
    await stores.catalog.renew_terms(event.id)

    async def take(*units, **fields):
        order = AnyOrder(event.id, units, **fields)
        return (await stores.box_office.reserve(Ask.trusted(await make_account(stores)), order)).booking

    held = await take(("pool:vip", 1), hold_ms=60_000, gate_pass="let-me-in")
    for wrong in ("", "let-me", "let-me-in "):
        with pytest.raises(SoldOut):
            await take(("pool:vip", 1), gate_pass=wrong)
    await take((POOL_MAIN, 1))
    await rebuild(stores)
    with pytest.raises(SoldOut):
        await take(("pool:vip", 1))

    await make_due(stores, held)
    with pytest.raises(HoldExpired):
        await stores.box_office.confirm(held.id)
    assert (await stores.box_office.confirm(held.id, gate_pass="let-me-in")).status is PENDING


async def test_a_reservation_takes_the_first_list_that_fits_whole(stores):
    event = await make_event(stores)
    lists = [(("seat:A-1", 1), ("seat:A-2", 1)), (("seat:B-1", 1), ("seat:B-2", 1)), (("seat:A-1", 1), ("seat:B-2", 1))]

    async def take(*wanted):
        order = AnyOrder(event.id, wanted[0], others=tuple(wanted[1:]))
        return (await stores.box_office.reserve(Ask.trusted(await make_account(stores)), order)).booking

    await take((("seat:A-2", 1),))
    best = await take(*lists)
    with pytest.raises(SoldOut):
        await take(*lists)
    await persist_all(stores)

    assert best.claims.partition(" ")[2] == "seat:B-1=1 seat:B-2=1"
    assert await counters(stores, event) == {"seat:A-2": 1, "seat:B-1": 1, "seat:B-2": 1}
    assert await in_order(stores)
