"""Fail-over, and back to an old primary: nothing is sold twice, and sales go on by themselves."""

from __future__ import annotations

import asyncio

import pytest

from domain.accounts.accounts import Role
from domain.background.rebuilding import in_order, rebuild, rebuild_if_needed_once
from domain.kernel.bookings import BookingStatus
from domain.kernel.refusals import SoldOut, Unavailable
from domain.store.readiness import check
from ops.evidence.bulk import mint
from tests.books import pool, rows
from tests.deployments.crowd import Crowd, buying_at
from tests.deployments.holders import holding_at
from tests.factories import book, make_event
from tests.processes import Processes
from tests.waiting import eventually, persist_all

SOLD_BETWEEN = 20
"""Bookings before, between and after the faults."""

EVENTS = 40
CAPACITY = 1_000
"""More tickets than a crowd can buy until the fail-over is noticed, at 100 of each event for a buyer."""


async def fail_over_and_back(pair):
    """The first server is the primary again, with the data of the second one and no process started anew."""
    await pair.replicate(pair.first, of=pair.second)
    pair.first.ask("REPLICAOF", "NO", "ONE")


async def mend(stores):
    """One look of a worker at the inventory; what it did, None while it could do nothing."""
    try:
        return await rebuild_if_needed_once(stores)
    except Unavailable:
        return None


async def sell(stores, event):
    """A booking, once there is somebody who sells."""

    async def once():
        try:
            return await book(stores, event)
        except Unavailable:
            await mend(stores)
            return None

    return await eventually(once)


async def test_what_a_fail_over_lost_is_not_sold_again_by_the_old_primary_that_came_back(pair, sellers):
    event = await make_event(sellers, capacity=1)
    pair.second.ask("REPLICAOF", "NO", "ONE")
    kept = await book(sellers, event)
    await persist_all(sellers)
    await fail_over_and_back(pair)

    with pytest.raises(Unavailable):
        await book(sellers, event)

    assert await eventually(lambda: mend(sellers))
    with pytest.raises(SoldOut):
        await book(sellers, event)
    assert (await sellers.box_office.booking(kept.id)).status is BookingStatus.CONFIRMED
    assert await pool(sellers, event) == (1, 1)


async def test_what_was_pending_when_it_failed_over_is_kept_and_sold_once(pair, sellers):
    event = await make_event(sellers, capacity=3)
    pair.second.ask("REPLICAOF", "NO", "ONE")
    kept = [await book(sellers, event) for _ in range(2)]
    await fail_over_and_back(pair)

    kept.append(await sell(sellers, event))
    with pytest.raises(SoldOut):
        await book(sellers, event)

    await persist_all(sellers)
    assert await rows(sellers, event) == {"confirmed": 3}
    for booking in kept:
        assert (await sellers.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED


async def test_a_token_that_was_ended_does_not_live_again_on_an_old_primary(pair, sellers):
    """What says that a session is over was lost by the fail-over like everything else."""
    words = await sellers.scripts.call("admit_anonymous_request", ["{n:192.0.2.1}:limit:x:"], [1_000, 60_000_000])
    assert words[0] == b"admitted"
    pair.second.ask("REPLICAOF", "NO", "ONE")
    await fail_over_and_back(pair)

    with pytest.raises(Unavailable):
        await sellers.scripts.call("admit_request", ["{a:1}:account", "{a:1}:limit"], ["0" * 32, 1, 0, 0, "", 1_000])


async def test_an_old_primary_is_not_in_order_when_it_comes_back(pair, sellers):
    pair.second.ask("REPLICAOF", "NO", "ONE")
    assert await in_order(sellers)
    await fail_over_and_back(pair)

    assert not await in_order(sellers)

    await rebuild(sellers)
    assert await in_order(sellers)


async def test_readiness_knows_a_replica_by_name(pair, sellers):
    pair.second.ask("REPLICAOF", "NO", "ONE")
    await pair.replicate(pair.first, of=pair.second)

    found = await check(sellers, keys_current=True)

    assert "is a replica" in found.redis
    assert found.inventory != "ok"


async def test_a_primary_that_was_demoted_by_hand_is_left_for_the_new_one(pair, sellers):
    event = await make_event(sellers, capacity=2)
    await book(sellers, event)
    pair.second.ask("REPLICAOF", "NO", "ONE")
    pair.lead_to(pair.second)
    await pair.replicate(pair.first, of=pair.second)

    await sell(sellers, event)

    await persist_all(sellers)
    assert await rows(sellers, event) == {"confirmed": 2}
    assert (await check(sellers, keys_current=True)).redis == "ok"


async def test_a_replica_is_never_sold_on(pair, sellers):
    event = await make_event(sellers)
    pair.lead_to(pair.second)
    sellers.pipeline._link._transport.abort()

    with pytest.raises(Unavailable):
        await book(sellers, event)
    with pytest.raises(Unavailable):
        await in_order(sellers)
    assert await mend(sellers) is None


async def test_sales_go_on_by_themselves_over_a_fail_over_and_back(pair, pair_settings, sellers):
    """By hand: each server is demoted and lives on, with whoever is connected to it."""
    events = [await make_event(sellers, capacity=CAPACITY) for _ in range(EVENTS)]
    crowd = Crowd(await mint(pair_settings, role=Role.ATTENDEE, count=3), events)
    environment = {"DURABILITY": "postgres", "RATE_LIMITS": "off"}
    with Processes(pair_settings) as processes:
        await asyncio.to_thread(processes.worker, **environment)
        api = await asyncio.to_thread(processes.api, **environment)
        async with buying_at(sellers, crowd, api.url):
            await crowd.until_sold(SOLD_BETWEEN, api.url)
            for primary, former in (pair.second, pair.first), (pair.first, pair.second):
                primary.ask("REPLICAOF", "NO", "ONE")
                pair.lead_to(primary)
                await pair.replicate(former, of=primary)
                await crowd.until_sold(SOLD_BETWEEN, api.url)


async def test_holds_live_and_end_over_a_fail_over_and_back(pair, pair_settings, sellers, tmp_path):
    events = [await make_event(sellers, capacity=CAPACITY, max_per_user=100) for _ in range(2)]
    crowd = Crowd(await mint(pair_settings, role=Role.ATTENDEE, count=1), events)
    environment = {"DURABILITY": "postgres", "RATE_LIMITS": "off"}
    with Processes(pair_settings) as processes:
        await asyncio.to_thread(processes.worker, **environment)
        api = await asyncio.to_thread(processes.api, **environment)
        async with buying_at(sellers, crowd, api.url), holding_at(sellers, crowd, events, tmp_path) as holders:
            await holders.until_answered()
            for primary, former in (pair.second, pair.first), (pair.first, pair.second):
                primary.ask("REPLICAOF", "NO", "ONE")
                pair.lead_to(primary)
                await pair.replicate(former, of=primary)
                await holders.until_answered()


async def test_an_old_primary_that_nobody_demoted_is_left_for_where_the_address_leads(pair, pair_settings, sellers):
    """Isolated from the new one and not from those who sell: both take writes."""
    events = [await make_event(sellers, capacity=CAPACITY) for _ in range(EVENTS)]
    crowd = Crowd(await mint(pair_settings, role=Role.ATTENDEE, count=3), events)
    environment = {"DURABILITY": "postgres", "RATE_LIMITS": "off"}
    with Processes(pair_settings) as processes:
        await asyncio.to_thread(processes.worker, **environment)
        api = await asyncio.to_thread(processes.api, **environment)
        async with buying_at(sellers, crowd, api.url):
            await crowd.until_sold(SOLD_BETWEEN, api.url)
            pair.second.ask("REPLICAOF", "NO", "ONE")
            pair.lead_to(pair.second)

            async def moved():
                record = await sellers.epochs.record()
                # `master_replid2` is the old primary's id, which the record has from the beginning.
                return record.server == pair.second.ask("INFO", "replication")["master_replid"]

            await eventually(moved)
            await crowd.until_sold(SOLD_BETWEEN, api.url)
