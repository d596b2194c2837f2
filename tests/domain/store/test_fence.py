"""Scripts and readings of another epoch, server, deployment or layout sell, write and settle nothing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from msgspec import structs
from pydantic import SecretStr
from sqlalchemy import text

from domain.background.persisting import persist_once, settlements, write
from domain.background.rebuilding import in_order, rebuild, rebuild_if_needed_once
from domain.engine import open_stores
from domain.kernel.bookings import BookingStatus, NewBooking
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import InventoryUnavailable, SoldOut, Unauthenticated, Unavailable
from domain.sales.events import EventChanges
from domain.sales.orders import TicketOrder
from domain.store.postgres import epochs
from domain.store.postgres.epochs import EpochOver
from domain.store.readiness import check
from domain.store.redis import fence, scripts
from domain.store.redis.admission import Admission, Ask
from domain.store.redis.fence import ANCHOR, OWN_SCRIPTS, REBUILD_SCRIPTS, FencingToken, sha1, source
from domain.store.redis.keys import epoch_key
from domain.store.redis.scripts import InventoryState
from tests.books import retire, rows, taken, unpersisted
from tests.domain.redis_faults import restart, wipe
from tests.factories import ORGANIZED, book, make_account, make_accounts, make_event, open_session
from tests.waiting import eventually, persist_all


async def test_a_process_that_missed_the_rebuild_is_refused_once_and_then_sells(stores, other_stores):
    event = await make_event(stores)
    await book(other_stores, event)
    await rebuild(stores)

    with pytest.raises(InventoryUnavailable):
        await book(other_stores, event)

    assert await book(other_stores, event)


async def test_a_process_that_missed_a_rebuild_after_a_restart_sells_again(stores, other_stores, valkey):
    event = await make_event(stores)
    await restart(stores, valkey)
    await rebuild(stores)

    assert await eventually(lambda: book_or_none(other_stores, event))


async def test_a_reading_of_the_epoch_that_hangs_holds_nobody_else_back(stores, other_stores, monkeypatch):
    event = await make_event(stores)
    await rebuild(stores)
    read_record, hangs = other_stores.epochs.record, [asyncio.Event()]

    async def half_open():
        if hangs:
            await hangs.pop().wait()
        return await read_record()

    monkeypatch.setattr(other_stores.epochs, "record", half_open)
    hanging = asyncio.create_task(book_or_none(other_stores, event))
    await eventually(lambda: asyncio.sleep(0, not hangs))

    assert await eventually(lambda: asyncio.wait_for(book_or_none(other_stores, event), 10))
    hanging.cancel()
    await asyncio.gather(hanging, return_exceptions=True)


async def test_a_new_process_sells_without_being_told_the_epoch(stores, settings):
    event = await make_event(stores)

    async with open_stores(settings) as fresh:
        try:
            booking = await book(fresh, event)
        except InventoryUnavailable:
            booking = await book(fresh, event)

    assert booking.status is BookingStatus.PENDING


async def test_what_was_read_in_an_older_epoch_is_not_written(stores, other_stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    partition = partition_of_event(event.id)
    read = await other_stores.unpersisted.read(partition, limit=10)
    epoch = other_stores.scripts.epoch
    await stores.pipeline.redis.flushall()
    await rebuild(stores)

    with pytest.raises(EpochOver):
        await write(other_stores, read, epoch=epoch)

    assert str(booking.id) in {entry.id for entry in read}
    assert await rows(stores, event) == {}


async def test_what_was_written_in_an_older_epoch_settles_nothing(stores, other_stores):
    event = await make_event(stores)
    await book(stores, event)
    partition = partition_of_event(event.id)
    read = await other_stores.unpersisted.read(partition, limit=10)
    written, _ = await write(other_stores, read, epoch=other_stores.scripts.epoch)
    await rebuild(stores)
    later = await book(stores, event, quantity=2)

    with pytest.raises(InventoryUnavailable):
        await other_stores.unpersisted.settle(partition, settlements(read, written))

    assert await unpersisted(stores) == {later.id}
    assert await taken(stores, event) == 3


async def test_a_worker_of_an_older_epoch_changes_nothing(stores, other_stores):
    event = await make_event(stores)
    await rebuild(stores)
    booking = await book(stores, event)

    with pytest.raises((EpochOver, InventoryUnavailable)):
        await persist_once(other_stores, partition_of_event(event.id))

    assert await unpersisted(stores) == {booking.id}
    assert await rows(stores, event) == {}


async def test_an_event_is_not_changed_by_a_process_of_an_older_epoch(stores, other_stores):
    event = await make_event(stores, capacity=10)
    await rebuild(stores)

    with pytest.raises(InventoryUnavailable):
        await other_stores.event_actions.change(
            event.id, EventChanges(capacity=20), caller=ORGANIZED, expected_version=None
        )

    assert (await stores.event_actions.find(event.id)).capacity == 10
    with pytest.raises(SoldOut):
        await book(stores, event, quantity=11)


async def test_records_of_an_older_epoch_are_not_believed(stores):
    """A Redis that came back with an older copy of its data has records PostgreSQL knows better."""
    event = await make_event(stores, capacity=10)
    booking = await book(stores, event, quantity=4)
    await persist_all(stores)
    key = f"{{p{partition_of_event(event.id)}}}:booking:{booking.id}"
    old = await stores.pipeline.redis.dump(key)
    await stores.box_office.cancel(booking)
    await persist_all(stores)
    await stores.pipeline.redis.restore(key, 60_000, old, replace=True)

    await rebuild(stores)

    assert (await stores.box_office.booking(booking.id)).status is BookingStatus.CANCELLED
    assert (await stores.box_office.cancel(booking)).status is BookingStatus.CANCELLED
    assert await taken(stores, event) == 0


async def test_a_lookup_of_an_older_epoch_does_not_let_a_booking_be_made_twice(stores, other_stores):
    """Asked for before the rebuild that confirmed it, a booking is not made again after it."""
    event = await make_event(stores, capacity=10)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, quantity=4, key="order-7")
    looked_up_in = other_stores.scripts.epoch
    assert await other_stores.ledger.find_by_key(booking.id) is None
    await rebuild(stores)
    await other_stores.scripts.refresh()

    new = NewBooking(booking.id, buyer, TicketOrder(event.id, 4))
    with pytest.raises(Unavailable):
        await other_stores.inventory.reserve(new, event.terms, looked_up=True, looked_up_in=looked_up_in)

    assert await taken(stores, event) == 4


async def test_a_record_read_in_an_older_epoch_is_not_brought_back(stores, other_stores):
    event = await make_event(stores, capacity=10)
    booking = await book(stores, event, quantity=4)
    await persist_all(stores)
    await retire(stores, booking)
    read_ms = await other_stores.inventory.now_ms()
    read_in = other_stores.scripts.epoch
    confirmed = await other_stores.ledger.find(booking.id)
    await stores.box_office.cancel(booking)
    await rebuild(stores)
    await other_stores.scripts.refresh()

    with pytest.raises(Unavailable):
        await other_stores.inventory.restore(confirmed, read_ms=read_ms, read_in=read_in)

    assert (await stores.box_office.cancel(booking)).status is BookingStatus.CANCELLED
    assert await taken(stores, event) == 0


async def test_scripts_that_are_missing_beside_the_anchor_are_loaded(stores):
    """As a version that has other texts finds the epoch of the one before it."""
    event = await make_event(stores)
    token = stores.scripts.token
    await stores.pipeline.redis.script_flush()
    await stores.pipeline.redis.script_load(source(ANCHOR, token))

    assert await book(stores, event)

    assert await stores.pipeline.redis.script_exists(*(sha1(name, token) for name in OWN_SCRIPTS)) == [True] * len(
        OWN_SCRIPTS
    )
    assert await in_order(stores)
    assert await stores.epochs.current() == token.epoch


async def test_a_crowd_that_misses_a_script_sells(stores):
    event = await make_event(stores)
    buyers = await make_accounts(stores, 20)
    await stores.pipeline.redis.script_flush()
    await stores.pipeline.redis.script_load(source(ANCHOR, stores.scripts.token))

    bookings = await asyncio.gather(*(book(stores, event, user_id=buyer) for buyer in buyers))

    assert await taken(stores, event) == len(bookings)


async def test_the_anchor_is_the_same_in_every_version(stores):
    """Versions beside each other find it by this name: a changed text would have them rebuild by turns."""
    token = FencingToken("00000000-0000-0000-0000-000000000000", 7, "0" * 40)

    assert sha1(ANCHOR, token) == "d56d95ec2070a9f2f99c025ac90ca1fad29ddf93"
    assert await in_order(stores)


async def test_another_deployment_on_the_same_server_has_other_scripts(stores):
    token = stores.scripts.token
    other = structs.replace(token, deployment=str(uuid4()))

    assert all(sha1(name, token) != sha1(name, other) for name in (ANCHOR, *OWN_SCRIPTS, *REBUILD_SCRIPTS))


async def test_a_stack_in_another_database_of_the_same_redis_finds_no_epoch_of_its_own(stores, settings):
    """Its epoch has the same number, and scripts of that number are there."""
    event = await make_event(stores)
    url = settings.redis_url.get_secret_value().replace("db=0", "db=2")
    async with open_stores(settings.model_copy(update={"redis_url": SecretStr(url)})) as beside:
        for partition in range(PARTITIONS):
            await beside.pipeline.call("SET", epoch_key(partition), stores.scripts.epoch)
        record = await stores.epochs.record()
        other = structs.replace(record, deployment=str(uuid4()))
        beside.scripts._epochs = Recorded(other)

        assert await beside.scripts.look() is InventoryState.OVER
        with pytest.raises(InventoryUnavailable):
            await book(beside, event)


class Recorded:
    """A record that another database has."""

    def __init__(self, record):
        self._record = record

    async def record(self):
        return self._record


async def test_a_process_of_a_lower_layout_neither_sells_nor_rebuilds(stores, other_stores, monkeypatch):
    event = await make_event(stores, capacity=2)
    await book(stores, event)
    epoch = stores.scripts.epoch
    monkeypatch.setattr(fence, "LAYOUT", fence.LAYOUT + 1)
    monkeypatch.setattr(scripts, "LAYOUT", fence.LAYOUT)
    monkeypatch.setattr(epochs, "LAYOUT", fence.LAYOUT)

    assert await rebuild_if_needed_once(stores)
    assert await book(stores, event)
    monkeypatch.undo()

    for _ in range(2):
        with pytest.raises(InventoryUnavailable):
            await book(other_stores, event)
    assert await rebuild_if_needed_once(other_stores) is None
    with pytest.raises(EpochOver):
        await rebuild(other_stores)
    assert "later layout" in (await check(other_stores, keys_current=True)).inventory
    assert await other_stores.epochs.current() == epoch + 1
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE inventory_epoch SET layout = 1"))
    await rebuild(stores)


async def book_or_none(stores, event):
    try:
        return await book(stores, event)
    except Unavailable:
        return None


async def test_no_reading_of_an_earlier_epoch_revives_a_session(stores):
    token = await open_session(stores)

    class Overtaken:
        """Sessions, one of which ends after it was read, and of which Redis then loses its data."""

        async def standings(self, session_ids):
            read = await stores.sessions.standings(session_ids)
            if read[token.session_id].live:
                await stores.sessions.end(token.session_id, now=datetime.now(UTC))
                await stores.admission.sessions_ended(token.account_id, [token.session_id])
                await wipe(stores, None)
                await rebuild(stores)
            return read

    with pytest.raises(Unauthenticated):
        await Admission(stores.scripts, stores.pipeline, Overtaken()).admit(Ask.by(token))
    with pytest.raises(Unauthenticated):
        await stores.admission.admit(Ask.by(token))
