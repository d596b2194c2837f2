"""A Redis that may have lost data sells nothing until its counters were rebuilt from PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from domain.background import rebuilding
from domain.background.rebuilding import in_order, rebuild, rebuild_if_needed_once
from domain.kernel.bookings import BookingStatus
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import InventoryUnavailable, SoldOut, Unavailable
from domain.store.postgres.epochs import EpochOver
from domain.store.redis.fence import OWN_SCRIPTS, source
from domain.store.redis.keys import dues_key, epoch_key
from tests.books import counters, differences, pool, rows, taken, unpersisted
from tests.domain.redis_faults import FAULTS, KEEPING, restart, wipe
from tests.factories import book, make_account, make_accounts, make_event, make_strangers
from tests.waiting import eventually, persist_all


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_sold_between_a_fault_and_the_rebuild(stores, valkey, fault):
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)

    await fault(stores, valkey)

    with pytest.raises(InventoryUnavailable):
        await book(stores, event)
    with pytest.raises(InventoryUnavailable):
        await stores.box_office.cancel(booking)
    with pytest.raises(InventoryUnavailable):
        await make_event(stores)
    await rebuild(stores)


@pytest.mark.parametrize("fault", FAULTS)
async def test_confirmed_bookings_are_answered_between_a_fault_and_the_rebuild(stores, valkey, fault):
    booking = await book(stores, await make_event(stores))
    await persist_all(stores)

    await fault(stores, valkey)

    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED
    await rebuild(stores)


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_pending_booking_is_never_said_not_to_exist_between_a_fault_and_the_rebuild(stores, valkey, fault):
    booking = await book(stores, await make_event(stores))

    await fault(stores, valkey)

    with pytest.raises(InventoryUnavailable):
        await stores.box_office.booking(booking.id)
    await rebuild(stores)


@pytest.mark.parametrize("fault", FAULTS)
async def test_after_the_rebuild_every_confirmed_ticket_is_taken_and_sales_go_on(stores, valkey, fault):
    event = await make_event(stores, capacity=10)
    kept, cancelled = await book(stores, event, quantity=4), await book(stores, event, quantity=3)
    await stores.box_office.cancel(cancelled)
    await persist_all(stores)
    before = await counters(stores, event)

    await fault(stores, valkey)
    await rebuild(stores)

    assert await counters(stores, event) == before
    assert (await stores.box_office.booking(kept.id)).status is BookingStatus.CONFIRMED
    assert (await book(stores, event, quantity=6)).status is BookingStatus.PENDING
    with pytest.raises(SoldOut):
        await book(stores, event)


@pytest.mark.parametrize("fault", KEEPING)
async def test_bookings_that_survived_in_redis_are_confirmed_by_the_rebuild(stores, valkey, fault):
    event = await make_event(stores, capacity=10)
    pending = [await book(stores, event, user_id=buyer) for buyer in await make_accounts(stores, 5)]
    confirmed = await book(stores, event, quantity=2)
    await stores.box_office.cancel(pending[0])

    await fault(stores, valkey)
    rebuilt = await rebuild(stores)

    assert rebuilt.drained == 6
    assert await rows(stores, event) == {"confirmed": 5, "cancelled": 1}
    assert await taken(stores, event) == 6
    assert await pool(stores, event) == (10, 6)
    assert (await stores.box_office.booking(confirmed.id)).status is BookingStatus.CONFIRMED
    assert (await stores.box_office.booking(pending[0].id)).status is BookingStatus.CANCELLED


async def test_more_bookings_than_one_batch_survive_a_restart(stores, valkey):
    event = await make_event(stores, capacity=5_000)
    buyers = await make_accounts(stores, 1_100)
    await asyncio.gather(*(book(stores, event, user_id=buyer) for buyer in buyers))

    await restart(stores, valkey)
    await rebuild(stores)

    assert await rows(stores, event) == {"confirmed": 1_100}
    assert await unpersisted(stores) == set()


async def test_a_few_bookings_of_many_partitions_are_persisted_by_one_transaction(stores, valkey):
    """Each transaction takes some round trips, in a time in which nothing is sold."""
    events = [await make_event(stores) for _ in range(20)]
    for event in events:
        await book(stores, event)

    await restart(stores, valkey)
    rebuilt = await rebuild(stores)

    assert (rebuilt.drained, await rows(stores)) == (20, {"confirmed": 20})
    assert await unpersisted(stores) == set()
    async with stores.database.connect() as connection:
        assert await connection.scalar(text("SELECT count(DISTINCT xmin::text) FROM bookings")) == 1


async def test_a_booking_that_postgresql_refuses_spoils_no_other_partition(stores, valkey):
    first, second = await make_strangers(stores, capacity=3)
    for event in (first, second):
        await book(stores, event, quantity=2)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE counters SET size = 1 WHERE event_id = :id"), {"id": first.id})

    await restart(stores, valkey)
    rebuilt = await rebuild(stores)
    await stores.catalog.renew_terms(first.id)

    assert rebuilt.drained == 2
    assert [await rows(stores, event) for event in (first, second)] == [{"rejected": 1}, {"confirmed": 1}]
    assert await taken(stores, first) == 0


async def test_a_full_batch_of_one_partition_does_not_keep_the_others_waiting(stores, valkey, monkeypatch):
    monkeypatch.setattr(rebuilding, "BATCH_MAX", 4)
    events = [await make_event(stores, capacity=20) for _ in range(6)]
    for number, event in enumerate(events):
        for _ in range(1 + 3 * (number % 3)):
            await book(stores, event)

    await restart(stores, valkey)
    rebuilt = await rebuild(stores)

    assert rebuilt.drained == 24
    assert [await rows(stores, event) for event in events] == [{"confirmed": 1 + 3 * (n % 3)} for n in range(6)]
    assert await unpersisted(stores) == set()


async def test_a_wipe_loses_only_what_was_pending(stores, valkey):
    event = await make_event(stores, capacity=10)
    kept = await book(stores, event, quantity=4)
    await persist_all(stores)
    await book(stores, event, quantity=6)

    await wipe(stores, valkey)
    await rebuild(stores)

    assert await taken(stores, event) == kept.quantity
    assert await rows(stores, event) == {"confirmed": 1}


async def test_a_booking_confirmed_before_a_rebuild_is_cancelled_after_it(stores, valkey):
    event = await make_event(stores, capacity=10)
    booking = await book(stores, event, quantity=4)
    await persist_all(stores)
    await restart(stores, valkey)
    await rebuild(stores)

    cancelled = await stores.box_office.cancel(booking)
    await persist_all(stores)

    assert cancelled.status is BookingStatus.CANCELLED
    assert await taken(stores, event) == 0
    assert await rows(stores, event) == {"cancelled": 1}


async def test_an_account_keeps_its_limit_over_a_rebuild(stores, valkey):
    event = await make_event(stores, max_per_user=3)
    buyer = await make_account(stores)
    await book(stores, event, user_id=buyer, quantity=2)
    await persist_all(stores)

    await wipe(stores, valkey)
    await rebuild(stores)

    assert await book(stores, event, user_id=buyer)
    assert max(taken for name, taken in (await counters(stores, event)).items() if name.startswith("user:")) == 3


async def test_a_counter_that_drifted_is_right_after_the_rebuild(stores):
    event = await make_event(stores, capacity=10)
    await book(stores, event, quantity=4)
    await persist_all(stores)
    await stores.pipeline.redis.hset(f"{{p{partition_of_event(event.id)}}}:counters:{event.id}", "pool:main", 9)
    assert await differences(stores)

    await rebuild(stores)

    assert await taken(stores, event) == 4


async def test_two_rebuilds_at_once_leave_one_inventory_in_order(stores, other_stores):
    event = await make_event(stores, capacity=10)
    await book(stores, event, quantity=4)
    await persist_all(stores)
    await stores.pipeline.redis.flushall()

    await asyncio.gather(rebuild(stores), rebuild(other_stores), return_exceptions=True)

    await stores.scripts.refresh()
    assert await rebuild_if_needed_once(stores) is None
    assert await book(stores, event, quantity=6)


async def test_an_inventory_in_order_is_not_rebuilt(stores):
    epoch = stores.scripts.epoch

    rebuilt = await rebuild_if_needed_once(stores)

    assert rebuilt is None
    assert await stores.epochs.current() == epoch


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_is_noticed_and_mended(stores, valkey, fault):
    event = await make_event(stores)
    await fault(stores, valkey)

    rebuilt = await eventually(lambda: mend(stores))

    assert rebuilt.events == 1
    assert await book(stores, event)


async def test_an_epoch_counter_restored_from_a_backup_is_overtaken(stores):
    """PostgreSQL came back with an older epoch than the one Redis sells in."""
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    sold_in = stores.scripts.epoch
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE inventory_epoch SET epoch = epoch - 5"))

    rebuilt = await rebuild(stores)

    assert rebuilt.epoch == sold_in + 1
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED
    assert await book(stores, event)


async def test_an_inventory_is_in_order_only_when_its_rebuild_was_complete(stores):
    """A rebuild may be killed between any two of the scripts that it publishes; the anchor is the last of them."""
    for number in range(len(OWN_SCRIPTS) + 1):
        await stores.pipeline.redis.script_flush()
        for name in OWN_SCRIPTS[:number]:
            await stores.pipeline.redis.script_load(source(name, stores.scripts.token))

        assert not await in_order(stores), OWN_SCRIPTS[number:]

    await rebuild(stores)


async def test_a_rebuild_that_was_overtaken_does_not_publish_the_one_that_overtook_it(stores, other_stores):
    event = await make_event(stores)
    overtaken = other_stores.scripts.token
    token = await stores.epochs.begin(above=0, server=overtaken.server)
    for partition in range(PARTITIONS):
        await stores.scripts.run_text("begin_epoch", token, [epoch_key(partition), dues_key(partition)], [])
    await other_stores.scripts.refresh()

    await other_stores.scripts.publish(overtaken, link=await other_stores.pipeline.hold())

    with pytest.raises(InventoryUnavailable):
        await book(other_stores, event)
    await rebuild(stores)


async def test_a_rebuild_during_which_redis_restarts_is_done_again(stores, valkey, monkeypatch):
    """What a Redis that restarted has of the counters is not known: nothing is sold by them."""
    await book(stores, await make_event(stores))
    await persist_all(stores)
    forget_kept = stores.intents.forget_kept

    async def restarted():
        await forget_kept()
        await restart(stores, valkey)

    monkeypatch.setattr(stores.intents, "forget_kept", restarted)

    with pytest.raises((EpochOver, Unavailable)):
        await rebuild(stores)

    monkeypatch.undo()
    assert not await in_order(stores)
    await rebuild(stores)


async def mend(stores):
    """One look of a worker at the inventory; None while the servers are away."""
    try:
        return await rebuild_if_needed_once(stores)
    except Unavailable:
        return None


@pytest.mark.parametrize("units_per_portion", [1, 1_000_000])
async def test_a_rebuild_in_chunks_and_portions_makes_the_counters_that_sales_had_made(
    stores, monkeypatch, units_per_portion
):
    monkeypatch.setattr(rebuilding, "COUNTERS_PER_CHUNK", 2)
    monkeypatch.setattr(rebuilding, "UNITS_PER_PORTION", units_per_portion)
    known = [await make_event(stores) for _ in range(4)]
    for number, event in enumerate(known):
        for buyer in await make_accounts(stores, number):
            await book(stores, event, user_id=buyer, quantity=number)
    await stores.box_office.cancel(await book(stores, known[0]))
    await persist_all(stores)
    before = [await counters(stores, event) for event in known]
    await stores.pipeline.redis.flushall()

    await rebuild(stores)

    assert [await counters(stores, event) for event in known] == before
    assert not await differences(stores)


async def test_a_rebuild_that_is_overtaken_while_it_refills_leaves_nothing_at_work(stores, monkeypatch):
    monkeypatch.setattr(rebuilding, "UNITS_PER_PORTION", 1)
    for _ in range(3):
        await book(stores, await make_event(stores))
    await persist_all(stores)
    holdings, before = stores.ledger.holdings, asyncio.all_tasks()

    async def overtaken(*args, **options):
        found = await holdings(*args, **options)
        for partition in range(PARTITIONS):
            await stores.pipeline.redis.set(epoch_key(partition), 1_000)
        return found

    monkeypatch.setattr(stores.ledger, "holdings", overtaken)

    with pytest.raises(EpochOver):
        await rebuild(stores)

    assert asyncio.all_tasks() == before
