"""The tickets of a cancelled booking are returned exactly once, whenever it is cancelled and however often."""

from __future__ import annotations

import asyncio

import pytest

from domain.background.clearing import clear_event
from domain.background.persisting import settlements, write
from domain.background.rebuilding import rebuild
from domain.engine import open_stores
from domain.kernel.bookings import BookingStatus
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import EventStarted, NotOnSale
from domain.sales.events import EventChanges
from domain.store.redis.inventory import RecordChanged, RecordUnknown
from ops.chaos.protections import Protection, without
from tests.books import counters, pool, retire, row, rows, taken, unpersisted
from tests.factories import ORGANIZED, begin, book, make_accounts, make_event
from tests.waiting import eventually, persist_all


async def test_a_hundred_cancels_at_once_return_the_tickets_once(stores, other_stores):
    event = await make_event(stores, capacity=10)
    keeper, booking = await book(stores, event, quantity=4), await book(stores, event, quantity=6)
    await persist_all(stores)

    answers = await asyncio.gather(
        *((stores, other_stores)[number % 2].box_office.cancel(booking) for number in range(100))
    )

    assert {answer.status for answer in answers} == {BookingStatus.CANCELLED}
    assert len({answer.cancelled_at for answer in answers}) == 1
    assert await taken(stores, event) == keeper.quantity


async def test_a_hundred_cancels_at_once_of_a_retired_booking_return_the_tickets_once(stores, other_stores):
    event = await make_event(stores, capacity=10)
    keeper, booking = await book(stores, event, quantity=4), await book(stores, event, quantity=6)
    await persist_all(stores)
    await retire(stores, booking)

    answers = await asyncio.gather(
        *((stores, other_stores)[number % 2].box_office.cancel(booking) for number in range(100))
    )

    assert {answer.status for answer in answers} == {BookingStatus.CANCELLED}
    assert await taken(stores, event) == keeper.quantity


async def test_cancelling_again_after_everything_retired_returns_nothing(stores):
    event = await make_event(stores, capacity=10)
    keeper, booking = await book(stores, event, quantity=4), await book(stores, event, quantity=6)
    await stores.box_office.cancel(booking)
    await persist_all(stores)
    await retire(stores, booking)

    again = await stores.box_office.cancel(booking)
    await persist_all(stores)

    assert again.status is BookingStatus.CANCELLED
    assert await taken(stores, event) == keeper.quantity
    assert await pool(stores, event) == (10, 4)


@pytest.mark.usefixtures("worker")
async def test_cancels_and_persists_at_once_return_the_tickets_once(stores, other_stores):
    event = await make_event(stores, capacity=300)
    bookings = [await book(stores, event, user_id=buyer) for buyer in await make_accounts(stores, 100)]

    await asyncio.gather(
        *((stores, other_stores)[number % 2].box_office.cancel(booking) for number, booking in enumerate(bookings * 2))
    )

    await eventually(lambda: unpersisted(stores), is_so=lambda waiting: not waiting)
    assert await counters(stores, event) == {}
    assert await rows(stores, event) == {"cancelled": 100}
    assert await pool(stores, event) == (300, 0)


async def test_a_cancel_between_read_and_settle_is_not_settled_away(stores):
    booking, left = await cancel_between_read_and_settle(stores)

    assert left == 1
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CANCELLED
    await persist_all(stores)
    assert (await row(stores, booking))["status"] == "cancelled"


@pytest.mark.unbalanced
async def test_settling_without_comparing_versions_would_lose_that_cancel(settings):
    with without(Protection.SETTLE_VERSION):
        async with open_stores(settings) as careless:
            await rebuild(careless)

            booking, left = await cancel_between_read_and_settle(careless)

            assert left == 0
            assert (await careless.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED


async def cancel_between_read_and_settle(stores):
    """A booking that is cancelled after it was written and before it is settled, and how many entries are then left."""
    event = await make_event(stores)
    booking = await book(stores, event)
    partition = partition_of_event(event.id)
    read = await stores.unpersisted.read(partition, limit=10)
    written, _ = await write(stores, read, epoch=stores.scripts.epoch)
    await stores.box_office.cancel(booking)
    return booking, await stores.unpersisted.settle(partition, settlements(read, written))


async def test_a_booking_read_before_and_written_after_its_cancellation_stays_cancelled(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    partition = partition_of_event(event.id)
    read_early = await stores.unpersisted.read(partition, limit=10)
    await stores.box_office.cancel(booking)
    await persist_all(stores)

    written, _ = await write(stores, read_early, epoch=stores.scripts.epoch)
    await stores.unpersisted.settle(partition, settlements(read_early, written))

    assert (await row(stores, booking))["status"] == "cancelled"
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CANCELLED
    assert await pool(stores, event) == (100, 0)


async def test_a_record_read_before_its_cancellation_retired_is_not_brought_back(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    await retire(stores, booking)
    with pytest.raises(RecordUnknown) as unknown:
        await stores.inventory.look(booking.id)
    read_early = await stores.ledger.find(booking.id)
    await stores.box_office.cancel(booking)

    await stores.inventory.restore(read_early, read_ms=unknown.value.now_ms, read_in=stores.scripts.epoch)

    assert (await stores.inventory.look(booking.id)).status is BookingStatus.CANCELLED
    assert await taken(stores, event) == 0


async def test_what_was_read_too_long_ago_brings_no_record_back(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    await retire(stores, booking)
    confirmed = await stores.ledger.find(booking.id)
    long_ago_ms = await stores.inventory.now_ms() - 10_001

    await stores.inventory.restore(confirmed, read_ms=long_ago_ms, read_in=stores.scripts.epoch)

    with pytest.raises(RecordUnknown):
        await stores.inventory.look(booking.id)


async def test_a_rejection_of_a_version_that_is_over_changes_nothing(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await stores.box_office.cancel(booking)
    await book(stores, event, quantity=2)

    released = await stores.inventory.release(booking, status=BookingStatus.REJECTED, version=booking.version)

    assert released.booking.status is BookingStatus.CANCELLED
    assert await taken(stores, event) == 2


async def test_a_release_of_another_version_is_refused(stores):
    event = await make_event(stores)
    booking = await book(stores, event)

    with pytest.raises(RecordChanged):
        await stores.inventory.release(booking, status=BookingStatus.REJECTED, version=7)

    assert await counters(stores, event) == {POOL_MAIN: 1} | {
        name: 1 for name in await counters(stores, event) if name.startswith("user:")
    }


async def test_a_booking_cannot_be_cancelled_after_the_event_started(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await begin(stores, event.id)

    with pytest.raises(EventStarted):
        await stores.box_office.cancel(booking)

    assert await taken(stores, event) == 1


async def test_a_booking_cancelled_in_time_is_answered_the_same_after_the_event_started(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    cancelled = await stores.box_office.cancel(booking)
    await begin(stores, event.id)

    again = await stores.box_office.cancel(booking)

    assert again == cancelled


async def test_a_cancelled_event_stops_selling_at_once_and_cancels_every_booking(stores, other_stores):
    event = await make_event(stores, capacity=500)
    buyers = await make_accounts(stores, 260)
    persisted = [await book(other_stores, event, user_id=buyer) for buyer in buyers[:230]]
    await persist_all(stores)
    await retire(stores, persisted[0])
    pending = [await book(other_stores, event, user_id=buyer) for buyer in buyers[230:]]

    await stores.event_actions.cancel(event.id, caller=ORGANIZED)
    with pytest.raises(NotOnSale):
        await book(other_stores, event)
    await cleared(stores)

    statuses = {(await stores.box_office.booking(booking.id)).status for booking in persisted + pending}
    assert statuses == {BookingStatus.CANCELLED}
    assert (await stores.box_office.booking(pending[0].id)).reason == "event_cancelled"
    await persist_all(stores)
    assert await rows(stores, event) == {"cancelled": 260}
    assert await pool(stores, event) == (500, 0)


async def test_cancelling_an_event_again_is_the_same_event(stores):
    event = await make_event(stores)
    first = await stores.event_actions.cancel(event.id, caller=ORGANIZED)

    again = await stores.event_actions.cancel(event.id, caller=ORGANIZED)

    assert again == first
    assert first.cancelled_at is not None


async def test_a_cancelled_event_is_cleared_after_a_wipe_in_the_middle(stores):
    event = await make_event(stores)
    bookings = [await book(stores, event, user_id=buyer) for buyer in await make_accounts(stores, 20)]
    await persist_all(stores)
    await stores.event_actions.cancel(event.id, caller=ORGANIZED)
    await asyncio.gather(*(stores.box_office.cancel(booking) for booking in bookings[:7]))
    await stores.pipeline.redis.flushall()
    await rebuild(stores)

    await cleared(stores)
    await persist_all(stores)

    assert await rows(stores, event) == {"cancelled": 20}


async def test_an_open_sale_is_not_cleared(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await stores.event_actions.change(event.id, EventChanges(paused=True), caller=ORGANIZED, expected_version=None)

    assert await stores.events.uncleared(limit=10) == []
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.PENDING


async def cleared(stores):
    """Clear, and persist what that changed, until no cancelled event has tickets taken."""

    async def round_and_look():
        for event_id in await stores.events.uncleared(limit=10):
            await clear_event(stores, event_id)
        await persist_all(stores)
        return await stores.events.uncleared(limit=10)

    await eventually(round_and_look, is_so=lambda uncleared: not uncleared)
