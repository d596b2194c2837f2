"""Worker processes that are killed, stopped or doubled lose nothing and write nothing twice."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from domain.background.closing import close_past_events_once
from domain.background.persisting import LEASE_MS, persist, persist_once, sweep_once
from domain.background.rebuilding import DRAIN_SCRIPTS, rebuild, rebuild_if_needed_once
from domain.kernel.bookings import BookingStatus, NewBooking
from domain.kernel.partitions import PARTITIONS, partition_of_event, random_booking_id
from domain.kernel.refusals import Unavailable
from domain.sales.orders import TicketOrder
from domain.store.redis.keys import dues_key, epoch_key, lease_key
from tests.api.callers import Callers, event_draft
from tests.books import pool, rows, taken, unpersisted
from tests.factories import ORGANIZED, book, make_account, make_accounts, make_event, make_neighbours
from tests.waiting import eventually, persist_all


async def test_a_worker_killed_before_it_wrote_loses_nothing(stores, settings, processes):
    event = await make_event(stores, capacity=50)
    await rush(stores, event, buyers=50)

    async with held(settings, event) as worker_waits:
        worker = processes.worker()
        await worker_waits()
        worker.kill()
    processes.worker()

    await all_persisted(stores)
    assert await rows(stores, event) == {"confirmed": 50}
    assert await pool(stores, event) == (50, 50)


async def test_a_worker_killed_between_commit_and_settle_doubles_nothing(stores, settings, processes):
    event = await make_event(stores, capacity=50)
    await rush(stores, event, buyers=50)

    async with held(settings, event) as worker_waits:
        worker = processes.worker()
        await worker_waits()
        await stores.pipeline.redis.client_pause(60_000, all=False)
    await eventually(lambda: rows(stores, event), is_so=lambda found: found == {"confirmed": 50})
    worker.kill()
    await stores.pipeline.redis.client_unpause()
    left = await unpersisted(stores)
    processes.worker()

    await all_persisted(stores)
    assert len(left) == 50
    assert await rows(stores, event) == {"confirmed": 50}
    assert await pool(stores, event) == (50, 50)


async def test_a_worker_stopped_in_the_middle_of_a_batch_does_not_stall_the_others(stores, settings, processes):
    event = await make_event(stores, capacity=50)
    await rush(stores, event, buyers=20)

    async with held(settings, event) as worker_waits:
        stalled = processes.worker()
        await worker_waits()
        stalled.signal(signal.SIGSTOP)
    processes.worker()

    await all_persisted(stores, seconds=8)
    later = await book(stores, event)
    await all_persisted(stores, seconds=8)
    stalled.signal(signal.SIGCONT)
    assert (await stores.box_office.booking(later.id)).status is BookingStatus.CONFIRMED
    assert await pool(stores, event) == (50, 21)


async def test_a_stopped_worker_does_not_keep_the_inventory_from_being_rebuilt(stores, settings, processes):
    event = await make_event(stores, capacity=50)
    await rush(stores, event, buyers=20)
    async with held(settings, event) as worker_waits:
        stalled = processes.worker()
        await worker_waits()
        stalled.signal(signal.SIGSTOP)
    await stores.pipeline.redis.script_flush()

    async def mended():
        try:
            return await asyncio.wait_for(rebuild_if_needed_once(stores), 10)
        except (Unavailable, TimeoutError):
            return None

    rebuilt = await eventually(mended)

    assert rebuilt.drained == 20
    assert await rows(stores, event) == {"confirmed": 20}


async def test_a_worker_stopped_in_the_middle_of_a_rebuild_leaves_it_to_another(stores, settings, processes):
    event = await make_event(stores, capacity=50)
    await rush(stores, event, buyers=20)
    async with held(settings, event) as worker_waits:
        await stores.pipeline.redis.script_flush()
        stalled = processes.worker()
        await worker_waits()
        stalled.signal(signal.SIGSTOP)

    processes.worker()

    assert await eventually(lambda: book_or_none(stores, event))
    assert await rows(stores, event) == {"confirmed": 20}


async def test_two_workers_on_one_partition_persist_each_booking_once(stores, processes):
    event = await make_event(stores, capacity=600)
    processes.worker()
    processes.worker()

    await rush(stores, event, buyers=600)

    await all_persisted(stores)
    assert await rows(stores, event) == {"confirmed": 600}
    assert await pool(stores, event) == (600, 600)


async def test_persisting_one_batch_eight_times_at_once_counts_it_once(stores, other_stores):
    event, neighbour = await make_neighbours(stores, 2, capacity=500)
    await asyncio.gather(rush(stores, event, buyers=150), rush(stores, neighbour, buyers=150))
    partition = partition_of_event(event.id)

    await asyncio.gather(*(persist_once(each, partition) for each in [stores, other_stores] * 4))

    assert await unpersisted(stores) == set()
    assert await pool(stores, event) == (500, 150)
    assert await pool(stores, neighbour) == (500, 150)


async def test_a_booking_whose_doorbell_was_lost_is_found_by_the_sweep(stores, processes):
    """As when an API process is killed after the script and before it rings."""
    event = await make_event(stores)
    new = NewBooking(random_booking_id(event.id), await make_account(stores), TicketOrder(event.id, 2))
    processes.worker()

    await stores.inventory.reserve(new, event.terms, looked_up=True)

    await all_persisted(stores)
    assert (await stores.box_office.booking(new.id)).status is BookingStatus.CONFIRMED


async def test_the_sweep_finds_what_was_booked_before_a_clock_was_set_back(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    an_hour_ahead_ms = await stores.inventory.now_ms() + 3_600_000
    await stores.pipeline.redis.zadd(
        f"{{p{partition_of_event(event.id)}}}:unpersisted", {str(booking.id): an_hour_ahead_ms}
    )

    written = await sweep_once(stores)

    assert written == 1


async def test_bookings_made_while_no_worker_runs_wait_for_one(stores, processes):
    event = await make_event(stores, capacity=100)
    await rush(stores, event, buyers=100)

    processes.worker()

    await all_persisted(stores)
    assert await rows(stores, event) == {"confirmed": 100}


async def test_a_rush_rings_few_doorbells(stores, settings):
    event = await make_event(stores, capacity=500)
    await rush(stores, event, buyers=500)

    async with Redis.from_url(settings.queue_url.get_secret_value()) as queue:
        rung = await eventually(lambda: queue.zcard("onsale:jobs"))

    assert rung <= 5


async def test_a_worker_told_to_stop_finishes_its_batch_and_loses_nothing(stores, processes):
    event = await make_event(stores, capacity=300)
    worker = processes.worker()
    await rush(stores, event, buyers=300)

    code = worker.stop()
    processes.worker()

    assert code == 0
    await all_persisted(stores)
    assert await rows(stores, event) == {"confirmed": 300}


async def test_a_worker_rebuilds_an_inventory_that_was_lost_and_sales_go_on(stores, processes):
    event = await make_event(stores, capacity=10)
    await book(stores, event, quantity=4)
    processes.worker()
    await all_persisted(stores)

    await stores.pipeline.redis.flushall()

    booking = await eventually(lambda: book_or_none(stores, event, quantity=6))
    assert await taken(stores, event) == 10
    await all_persisted(stores)
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED


async def test_nothing_is_lost_when_redis_is_killed_under_a_worker_and_both_start_again(stores, processes, valkey):
    event = await make_event(stores, capacity=1_000)
    await rush(stores, event, buyers=200)
    processes.worker()

    valkey.kill()
    valkey.start()
    processes.worker()

    booking = await eventually(lambda: book_or_none(stores, event))
    await all_persisted(stores)
    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CONFIRMED
    assert await rows(stores, event) == {"confirmed": 201}


async def test_a_partition_that_somebody_persists_is_left_to_them(stores, other_stores):
    event = await make_event(stores)
    await book(stores, event)
    partition = partition_of_event(event.id)
    await stores.unpersisted.take_lease(partition, holder="somebody", lease_ms=60_000)

    written = await persist(other_stores, partition)

    assert written == 0
    assert len(await unpersisted(stores)) == 1


async def test_the_lease_of_a_worker_that_died_ends_within_its_time(stores, other_stores):
    event = await make_event(stores)
    await book(stores, event)
    partition = partition_of_event(event.id)
    await stores.unpersisted.take_lease(partition, holder="somebody who died", lease_ms=LEASE_MS)
    assert await stores.pipeline.redis.pttl(lease_key(partition)) <= LEASE_MS < 1_000

    written = await eventually(lambda: persist(other_stores, partition))

    assert written == 1


async def test_an_api_killed_while_it_creates_an_event_leaves_nothing_behind(stores, settings, processes):
    api = processes.api(RATE_LIMITS="off")
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client, held_commits(settings) as abort:
        organizer = await Callers(client, stores).organizer()
        creation = asyncio.create_task(organizer.post("/api/v1/events", event_draft()))
        (key,) = await eventually(lambda: stores.pipeline.redis.keys("*:counters:*"))
        api.kill()
        while_it_commits = await close_past_events_once(stores)
        await abort()
        with pytest.raises(httpx.TransportError):
            await creation

    assert while_it_commits.leftovers == 0
    assert (await close_past_events_once(stores)).leftovers == 1
    assert not await stores.pipeline.redis.exists(key)


async def rush(stores, event, *, buyers):
    """So many accounts book a ticket each, all at once."""
    await asyncio.gather(*(book(stores, event, user_id=buyer) for buyer in await make_accounts(stores, buyers)))


async def book_or_none(stores, event, *, quantity=1):
    try:
        return await book(stores, event, quantity=quantity)
    except Unavailable:
        return None


async def all_persisted(stores, *, seconds=15.0):
    await eventually(lambda: unpersisted(stores), is_so=lambda waiting: not waiting, seconds=seconds)


@asynccontextmanager
async def held(settings, event):
    """Holds the event's pool in PostgreSQL, so that a worker gets stuck in the middle of its batch.

    What it yields waits until one is.
    """
    connection = await asyncpg.connect(settings.database_url.get_secret_value())

    async def stuck():
        # A transaction sees the activity of the moment it first looked at, unless it says otherwise.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        return await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )

    try:
        async with connection.transaction():
            await connection.execute("SELECT 1 FROM counters WHERE event_id = $1 FOR UPDATE", event.id)
            yield lambda: eventually(stuck)
    finally:
        await connection.close()


@asynccontextmanager
async def held_commits(settings):
    """Holds every transaction that creates an event at its commit. What it yields aborts them."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value())

    async def abort():
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE objid = 4711 AND NOT granted")

    try:
        await connection.execute(
            """
            SELECT pg_advisory_lock(4711);
            CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0
            AS 'BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END';
            CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON counters DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION wait_at_commit()
            """
        )
        yield abort
    finally:
        await connection.execute("DROP FUNCTION wait_at_commit CASCADE")
        await connection.close()


async def test_a_worker_killed_while_it_clears_a_cancelled_event_is_gone_on_from(stores, processes):
    event = await make_event(stores, capacity=3_000)
    await rush(stores, event, buyers=1_500)
    await persist_all(stores)
    first = processes.worker()
    await stores.event_actions.cancel(event.id, caller=ORGANIZED)
    await eventually(lambda: taken(stores, event), is_so=lambda tickets: 0 < tickets < 1_500)
    first.signal(signal.SIGKILL)

    processes.worker()

    await eventually(lambda: stores.events.uncleared(limit=10), is_so=lambda left: not left, seconds=40)
    await all_persisted(stores)
    assert await rows(stores, event) == {"cancelled": 1_500}


async def test_other_workers_persist_beside_a_rebuild(stores, other_stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    link, server = await stores.pipeline.primary()
    token = await stores.epochs.begin(above=0, server=server.id)
    for partition in range(PARTITIONS):
        await stores.scripts.run_text("begin_epoch", token, [epoch_key(partition), dues_key(partition)], [])
    await stores.scripts.load(token, DRAIN_SCRIPTS, link=link)
    await other_stores.scripts.refresh()
    partition = partition_of_event(event.id)

    assert await other_stores.unpersisted.take_lease(partition, holder="another", lease_ms=300)
    assert [each.id for each in await other_stores.unpersisted.read(partition, limit=10)] == [str(booking.id)]
    await rebuild(stores)
