"""A backlog is persisted in batches; a worker that is at it gets no wake-up, and stops after a bounded time."""

from __future__ import annotations

import asyncio

import pytest

from domain.background import persisting
from domain.background.persisting import persist
from domain.kernel.partitions import partition_of_event
from domain.store.job_queue import QUEUE_NAME
from tests.books import pool, rows, unpersisted
from tests.factories import book, make_event
from worker.jobs import persist_partition


@pytest.fixture
def _small_batches(monkeypatch):
    """Eight batches are a backlog then."""
    monkeypatch.setattr(persisting, "BATCH_MAX", 3)


@pytest.mark.usefixtures("_small_batches")
async def test_a_backlog_of_many_batches_is_persisted_whole(stores):
    event = await make_event(stores)
    for _ in range(23):
        await book(stores, event)

    written = await persist(stores, partition_of_event(event.id))

    assert written >= 23
    assert await unpersisted(stores) == set()
    assert await rows(stores, event) == {"confirmed": 23}
    assert await pool(stores, event) == (100, 23)


@pytest.mark.usefixtures("_small_batches")
async def test_bookings_cancelled_while_their_backlog_is_persisted_stay_cancelled(stores, other_stores):
    event = await make_event(stores)
    bookings = [await book(stores, event) for _ in range(40)]

    await asyncio.gather(
        persist(stores, partition_of_event(event.id)),
        *(other_stores.box_office.cancel(booking) for booking in bookings[::2]),
    )

    await persist(stores, partition_of_event(event.id))
    assert await unpersisted(stores) == set()
    assert await rows(stores, event) == {"confirmed": 20, "cancelled": 20}
    assert await pool(stores, event) == (100, 20)


@pytest.mark.usefixtures("_small_batches")
async def test_two_workers_at_one_backlog_write_each_booking_once(stores, other_stores, monkeypatch):
    monkeypatch.setattr(persisting, "LEASE_MS", 1)
    event = await make_event(stores)
    for _ in range(40):
        await book(stores, event)
    partition = partition_of_event(event.id)

    await asyncio.gather(persist(stores, partition), persist(other_stores, partition))

    await persist(stores, partition)
    assert await unpersisted(stores) == set()
    assert await rows(stores, event) == {"confirmed": 40}
    assert await pool(stores, event) == (100, 40)


async def test_a_worker_that_will_come_again_is_not_rung_for(stores):
    event = await make_event(stores)
    await book(stores, event)
    partition = partition_of_event(event.id)
    bell = f"{{p{partition}}}:doorbell"
    read = await stores.unpersisted.read(partition, limit=10)
    written, _ = await persisting.write(stores, read, epoch=stores.scripts.epoch)

    left = await stores.unpersisted.settle(partition, persisting.settlements(read, written))

    assert left == 0
    assert await stores.pipeline.redis.exists(bell)
    assert await stores.unpersisted.read(partition, limit=10) == []
    assert not await stores.pipeline.redis.exists(bell)


@pytest.mark.usefixtures("_small_batches")
async def test_what_is_not_persisted_in_time_is_left_to_another_job(stores, monkeypatch):
    monkeypatch.setattr(persisting, "PERSIST_S_MAX", 0.01)
    event = await make_event(stores)
    for _ in range(60):
        await book(stores, event)
    await stores.queue.delete(QUEUE_NAME)

    written = await persist_partition({"stores": stores, "redis": stores.queue}, partition_of_event(event.id))

    assert 0 < written < 60
    assert len(await unpersisted(stores)) == 60 - written
    assert await stores.queue.zcard(QUEUE_NAME) == 1
    monkeypatch.undo()
    await persist(stores, partition_of_event(event.id))
