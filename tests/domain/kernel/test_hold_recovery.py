"""Holds and their tickets after faults: what was acknowledged stands, and returns are persisted first."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from domain.background import persisting
from domain.background.audit import audit
from domain.background.persisting import expire, persist_once
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.engine import open_stores
from domain.kernel.bookings import BookingStatus
from domain.kernel.differences import Fault
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import SoldOut
from domain.store.redis.keys import due_key, record_key, unpersisted_key
from tests.books import pool, record, row, taken
from tests.domain.redis_faults import wipe_and_restart
from tests.factories import (
    book,
    hold,
    make_due,
    make_event,
)
from tests.waiting import eventually, persist_all

HELD, PENDING, CONFIRMED, CANCELLED, EXPIRED = (
    BookingStatus.HELD,
    BookingStatus.PENDING,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
    BookingStatus.EXPIRED,
)


async def sweep(stores, event):
    return await expire(stores, partition_of_event(event.id))


async def in_order(stores):
    """Whether reconciliation and the audit find nothing."""
    return await reconcile(stores) == [] and all(books.in_order for books in await audit(stores))


async def test_holds_survive_the_loss_of_redis_with_their_deadlines(stores, valkey):
    event = await make_event(stores, capacity=3)
    held, due = await hold(stores, event), await hold(stores, event)
    await persist_all(stores)
    await make_due(stores, due)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE bookings SET due_at = now() WHERE id = :id"), {"id": due.id})
    await wipe_and_restart(stores, valkey)

    await rebuild(stores)

    assert await taken(stores, event) == 1
    told = [(await stores.box_office.booking(each.id)).status for each in (held, due)]
    assert told == [HELD, EXPIRED]
    assert (await stores.box_office.booking(held.id)).due_at == held.due_at
    await book(stores, event, quantity=2)
    assert (await stores.box_office.confirm(held.id)).status is PENDING
    await persist_all(stores)
    assert await pool(stores, event) == (3, 3)
    assert await in_order(stores)


async def test_an_acknowledged_hold_survives_the_loss_of_redis_if_postgresql_keeps_intents(settings, valkey):
    async with open_stores(settings.model_copy(update={"durability": "postgres"})) as stores:
        await stores.scripts.refresh()
        event = await make_event(stores)
        held = await hold(stores, event)
        await wipe_and_restart(stores, valkey)

        await rebuild(stores)

        found = await stores.box_office.booking(held.id)
        assert (found.status, found.due_at) == (HELD, held.due_at)
        assert await taken(stores, event) == 1
        assert (await stores.box_office.confirm(held.id)).status is PENDING


@pytest.mark.parametrize("persisted", [False, True])
async def test_a_buyer_of_expired_tickets_is_kept_if_only_redis_knew_that_they_had_expired(settings, valkey, persisted):
    """Redis is lost after it gave the tickets of a hold to a buyer; PostgreSQL has both as acknowledged."""
    async with open_stores(settings.model_copy(update={"durability": "postgres"})) as stores:
        await stores.scripts.refresh()
        event = await make_event(stores, capacity=1)
        held = await hold(stores, event, hold_ms=200)
        if persisted:
            await persist_all(stores)

        async def booking_or_none():
            try:
                return await book(stores, event)
            except SoldOut:
                return None

        booking = await eventually(booking_or_none)
        await wipe_and_restart(stores, valkey)

        await rebuild(stores)

        assert [(await row(stores, each))["status"] for each in (held, booking)] == ["expired", "confirmed"]
        assert await pool(stores, event) == (1, 1)
        assert await taken(stores, event) == 1


async def test_what_took_the_tickets_of_a_hold_is_persisted_after_it(stores, monkeypatch):
    """One booking in each batch: PostgreSQL sees the return first, though both are of one millisecond."""
    monkeypatch.setattr(persisting, "BATCH_MAX", 1)
    for _ in range(10):
        event = await make_event(stores, capacity=1)
        held = await hold(stores, event)
        await persist_all(stores)
        await make_due(stores, held)

        booking = await book(stores, event)
        await persist_all(stores)

        assert [(await row(stores, each))["status"] for each in (held, booking)] == ["expired", "confirmed"]


async def test_a_booking_that_postgresql_refuses_is_tried_again_while_a_return_is_unpersisted(stores, monkeypatch):
    monkeypatch.setattr(persisting, "BATCH_MAX", 1)
    event = await make_event(stores, capacity=1)
    partition = partition_of_event(event.id)
    held = await hold(stores, event)
    await persist_all(stores)
    await make_due(stores, held)
    booking = await book(stores, event)
    await stores.pipeline.redis.zadd(unpersisted_key(partition), {str(booking.id): 1})

    put_off = await persist_once(stores, partition)

    assert (put_off.moved, await row(stores, booking)) == (0, None)
    await stores.pipeline.redis.zadd(unpersisted_key(partition), {str(booking.id): 2_000_000_000_000})
    await persist_all(stores)
    assert [(await row(stores, each))["status"] for each in (held, booking)] == ["expired", "confirmed"]


async def test_a_rebuild_writes_what_was_refused_again_after_the_returns(stores, monkeypatch):
    monkeypatch.setattr("domain.background.rebuilding.BATCH_MAX", 1)
    event = await make_event(stores, capacity=1)
    held = await hold(stores, event)
    await persist_all(stores)
    await make_due(stores, held)
    booking = await book(stores, event)
    await stores.pipeline.redis.zadd(unpersisted_key(partition_of_event(event.id)), {str(booking.id): 1})

    await rebuild(stores)

    assert [(await row(stores, each))["status"] for each in (held, booking)] == ["expired", "confirmed"]
    assert await taken(stores, event) == 1


async def test_a_hold_that_would_never_expire_is_found_and_listed_again(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await persist_all(stores)
    assert await reconcile(stores) == []
    await stores.pipeline.redis.zrem(due_key(event.id), str(held.id))

    (found,) = await reconcile(stores)

    assert (found.difference.fault, found.difference.subject, found.repaired) == (
        Fault.ORPHAN_RECORD,
        str(held.id),
        True,
    )
    assert await stores.pipeline.redis.zscore(due_key(event.id), str(held.id)) is not None


async def test_a_hold_of_an_earlier_epoch_is_no_difference_and_goes_away(stores):
    """A server that comes back with older files has it, and PostgreSQL knows that it has expired."""
    event = await make_event(stores)
    held = await hold(stores, event)
    await persist_all(stores)
    older = await record(stores, held)
    await make_due(stores, held)
    await sweep(stores, event)
    await persist_all(stores)
    await rebuild(stores)
    await stores.pipeline.redis.delete(record_key(held.id))
    await stores.pipeline.redis.hset(record_key(held.id), mapping=older)

    found = await reconcile(stores)

    assert found == []
    assert await stores.pipeline.redis.pttl(record_key(held.id)) > 0
    assert (await stores.box_office.booking(held.id)).status is EXPIRED
    assert await taken(stores, event) == 0


async def test_a_hold_past_its_deadline_is_told_expired_from_its_row(stores):
    event = await make_event(stores)
    held = await hold(stores, event)
    await persist_all(stores)
    await make_due(stores, held)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE bookings SET due_at = now() WHERE id = :id"), {"id": held.id})
    await stores.pipeline.redis.delete(record_key(held.id))

    told = await stores.box_office.booking(held.id)
    await rebuild(stores)

    again = await stores.box_office.booking(held.id)
    assert [(each.status, each.version) for each in (told, again)] == [(EXPIRED, 2)] * 2
    assert await taken(stores, event) == 0
