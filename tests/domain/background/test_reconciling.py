"""Reconciliation repairs drift of every kind while bookings go on, and changes nothing else."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from domain.background.audit import audit
from domain.background.reconciling import reconcile
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.differences import Fault
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import SoldOut
from domain.store.redis.keys import counters_key, record_key, unpersisted_key
from tests.books import pool, row, taken, unlist, unpersisted
from tests.domain.background.drift import PLANTED, faults, move, sold, sql
from tests.factories import book, make_account, make_accounts, make_event
from tests.waiting import eventually, keep_persisting, persist_all


async def test_books_in_order_are_left_alone(stores):
    event = await make_event(stores)
    (first, *_) = await sold(stores, event)
    await stores.box_office.cancel(first)
    await book(stores, event)

    outcomes = await reconcile(stores)

    assert outcomes == []


@pytest.mark.parametrize(
    ("by", "fault"), [(4, Fault.COUNTER_TOO_HIGH), (-2, Fault.COUNTER_TOO_LOW)], ids=["too_high", "too_low"]
)
async def test_a_pool_counter_that_is_wrong_is_mended(stores, by, fault):
    event = await make_event(stores)
    await sold(stores, event)
    await move(stores, event, POOL_MAIN, by)

    outcomes = await reconcile(stores)

    assert faults(outcomes) == {(fault, POOL_MAIN)}
    assert all(outcome.repaired for outcome in outcomes)
    assert await taken(stores, event) == 3


async def test_a_lost_release_is_mended_in_the_pool_and_in_the_account(stores):
    event = await make_event(stores)
    user_id = await make_account(stores)
    booking = await book(stores, event, user_id=user_id, quantity=2)
    await persist_all(stores)
    await stores.box_office.cancel(booking)
    await move(stores, event, POOL_MAIN, 2)
    await move(stores, event, user_counter(user_id), 2)

    outcomes = await reconcile(stores)

    assert faults(outcomes) == {
        (Fault.COUNTER_TOO_HIGH, POOL_MAIN),
        (Fault.COUNTER_TOO_HIGH, user_counter(user_id)),
    }
    assert await taken(stores, event) == 0


async def test_a_counter_that_vanished_is_mended(stores):
    event = await make_event(stores)
    user_id = await make_account(stores)
    await book(stores, event, user_id=user_id, quantity=2)
    await persist_all(stores)
    await stores.pipeline.redis.hdel(counters_key(event.id), user_counter(user_id))

    outcomes = await reconcile(stores)

    assert faults(outcomes) == {(Fault.COUNTER_TOO_LOW, user_counter(user_id))}


async def test_a_row_without_a_record_takes_its_tickets(stores):
    event = await make_event(stores)
    user_id = await make_account(stores)
    booking = await book(stores, event, user_id=user_id)
    await persist_all(stores)
    await stores.pipeline.redis.delete(record_key(booking.id))
    await move(stores, event, POOL_MAIN, -1)
    await move(stores, event, user_counter(user_id), -1)

    await reconcile(stores)

    assert await taken(stores, event) == 1


async def test_an_orphan_record_is_listed_and_then_persisted(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await unlist(stores, booking)

    outcomes = await reconcile(stores)
    await persist_all(stores)

    assert (Fault.ORPHAN_RECORD, str(booking.id)) in faults(outcomes)
    assert (await row(stores, booking))["status"] == "confirmed"
    assert await reconcile(stores) == []


async def test_a_lost_settle_is_persisted_again_and_no_drift(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    await stores.pipeline.redis.zadd(unpersisted_key(partition_of_event(event.id)), {str(booking.id): 1})

    outcomes = await reconcile(stores)
    await persist_all(stores)

    assert outcomes == []
    assert await unpersisted(stores) == set()


async def test_a_capacity_changed_in_postgresql_alone_is_put_in_force(stores):
    event = await make_event(stores, capacity=3)
    await sold(stores, event)
    with pytest.raises(SoldOut):
        await book(stores, event)
    await sql(stores, "UPDATE events SET capacity = 5 WHERE id = :id", id=event.id)

    outcomes = await reconcile(stores)
    await book(stores, event)
    await book(stores, event)

    assert (Fault.TERMS_DIFFER, "terms") in faults(outcomes)
    assert await pool(stores, event) == (5, 3)
    with pytest.raises(SoldOut):
        await book(stores, event)


async def test_a_capacity_below_what_is_taken_is_told_and_not_repaired(stores):
    event = await make_event(stores, capacity=5)
    await sold(stores, event)
    await sql(stores, "UPDATE events SET capacity = 2 WHERE id = :id", id=event.id)

    outcomes = await reconcile(stores)

    assert {outcome.repaired for outcome in outcomes if outcome.difference.fault is Fault.TERMS_DIFFER} == {False}
    await sql(stores, "UPDATE events SET capacity = 5 WHERE id = :id", id=event.id)
    await reconcile(stores)


async def test_a_pool_that_postgresql_miscounted_is_recounted(stores):
    event = await make_event(stores)
    await sold(stores, event)
    await sql(stores, "UPDATE counters SET taken = taken + 7 WHERE event_id = :id", id=event.id)

    outcomes = await reconcile(stores)

    assert faults(outcomes) == {(Fault.ROW_MISCOUNTED, POOL_MAIN)}
    assert await pool(stores, event) == (100, 3)


async def test_an_event_without_counters_gets_them_back(stores):
    event = await make_event(stores)
    await sold(stores, event)
    await stores.pipeline.redis.delete(counters_key(event.id))

    outcomes = await reconcile(stores)

    assert faults(outcomes) == {(Fault.UNINSTALLED, "terms")}
    assert await taken(stores, event) == 3


async def test_what_was_found_is_told_once_and_kept(stores):
    event = await make_event(stores)
    await sold(stores, event)
    await move(stores, event, POOL_MAIN, 1)

    await reconcile(stores, event.id)
    async with stores.database.connect() as connection:
        kept = (await connection.execute(text("SELECT event_id, fault, found, expected, done FROM repairs"))).all()

    assert kept == [(event.id, "counter_too_high", 4, 3, True)]


async def test_looking_without_fixing_changes_nothing(stores):
    event = await make_event(stores)
    await sold(stores, event)
    await move(stores, event, POOL_MAIN, 1)

    outcomes = await reconcile(stores, fix=False)

    assert [outcome.repaired for outcome in outcomes] == [False]
    assert await taken(stores, event) == 4
    await reconcile(stores)


async def test_two_passes_at_once_mend_a_counter_once(stores, other_stores):
    event = await make_event(stores)
    await sold(stores, event)
    await move(stores, event, POOL_MAIN, 5)

    await asyncio.gather(reconcile(stores), reconcile(other_stores), reconcile(stores))

    assert await taken(stores, event) == 3


@pytest.mark.usefixtures("worker")
async def test_drift_is_mended_under_load_and_traffic_is_not_taken_for_drift(stores):
    busy = await make_event(stores, capacity=1000)
    broken = await make_event(stores, capacity=1000)
    await move(stores, broken, POOL_MAIN, 3)
    users = await make_accounts(stores, 100)
    over = asyncio.Event()
    worker = asyncio.create_task(keep_persisting(stores))

    async def come_and_go(user_id):
        while not over.is_set():
            for event in (busy, broken):
                await stores.box_office.cancel(await book(stores, event, user_id=user_id))
        for event in (busy, broken):
            await book(stores, event, user_id=user_id)

    traffic = [asyncio.create_task(come_and_go(user_id)) for user_id in users]
    outcomes = []

    async def mended():
        outcomes.extend(await reconcile(stores))
        return bool(outcomes)

    await eventually(mended, seconds=15)
    over.set()
    await asyncio.gather(*traffic)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)

    assert faults(outcomes) == {(Fault.COUNTER_TOO_HIGH, POOL_MAIN)}
    assert {outcome.difference.event_id for outcome in outcomes} == {broken.id}
    assert (await taken(stores, busy), await taken(stores, broken)) == (100, 100)


async def test_drift_of_every_kind_is_mended_under_load_within_seconds_and_nothing_else_is_touched(stores):
    busy = await make_event(stores, capacity=5_000)
    quiet = await make_event(stores)
    await sold(stores, quiet)
    planted = {await plant(stores, await make_event(stores, capacity=1_000)) for plant in PLANTED}
    users = await make_accounts(stores, 100)
    over = asyncio.Event()
    worker = asyncio.create_task(keep_persisting(stores))

    async def come_and_go(user_id):
        while not over.is_set():
            await stores.box_office.cancel(await book(stores, busy, user_id=user_id))

    traffic = [asyncio.create_task(come_and_go(user_id)) for user_id in users]
    outcomes = []

    async def mended():
        found = await reconcile(stores)
        outcomes.extend(found)
        return not found and planted <= {outcome.difference.event_id for outcome in outcomes}

    await eventually(mended, seconds=15)
    over.set()
    await asyncio.gather(*traffic)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    await persist_all(stores)

    assert [outcome for outcome in outcomes if outcome.difference.event_id not in planted] == []
    assert {outcome.difference.fault for outcome in outcomes} == set(Fault) - {Fault.UNINSTALLED}
    assert (await taken(stores, busy), await taken(stores, quiet)) == (0, 3)


async def test_the_audit_says_by_how_much(stores):
    event = await make_event(stores)
    await sold(stores, event)
    await book(stores, event)
    await move(stores, event, POOL_MAIN, 2)

    (books,) = await audit(stores, event.id)

    assert (books.size, books.remaining, books.pending, books.confirmed, books.drift) == (100, 94, 1, 3, 2)
    assert not books.in_order
    await reconcile(stores)
