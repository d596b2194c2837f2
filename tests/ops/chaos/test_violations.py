"""Violations that storms have found, each as a small test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from domain.background.rebuilding import rebuild
from domain.engine import open_stores
from domain.kernel.bookings import BookingStatus
from domain.kernel.refusals import InventoryUnavailable
from tests.factories import book, make_event
from tests.waiting import persist_all

if TYPE_CHECKING:
    from domain.engine import Stores
    from domain.platform.settings import Settings


async def test_a_cancelled_booking_is_not_told_confirmed_while_the_inventory_is_rebuilt(stores: Stores) -> None:
    booking = await book(stores, await make_event(stores))
    await persist_all(stores)
    await stores.box_office.cancel(booking)

    await stores.pipeline.redis.script_flush()

    with pytest.raises(InventoryUnavailable):
        await stores.box_office.booking(booking.id)
    await rebuild(stores)
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CANCELLED


async def test_nor_when_redis_lost_it_and_only_the_intent_is_left(stores: Stores, settings: Settings) -> None:
    async with open_stores(settings.model_copy(update={"durability": "postgres"})) as keeping:
        await keeping.scripts.refresh()
        booking = await book(keeping, await make_event(stores))
        await persist_all(keeping)
        await keeping.box_office.cancel(booking)

        await keeping.pipeline.redis.flushall()

        with pytest.raises(InventoryUnavailable):
            await keeping.box_office.booking(booking.id)
        await rebuild(keeping)
        assert (await keeping.box_office.booking(booking.id)).status is BookingStatus.CANCELLED


async def test_what_is_over_is_told_while_the_inventory_is_rebuilt(stores: Stores) -> None:
    booking = await book(stores, await make_event(stores))
    await stores.box_office.cancel(booking)
    await persist_all(stores)

    await stores.pipeline.redis.script_flush()

    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CANCELLED
