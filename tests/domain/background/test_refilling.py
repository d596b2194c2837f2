"""After a rebuild has begun to sell, each event sells once it is refilled. Until then nothing of it changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from msgspec import Struct

from domain.background import rebuilding
from domain.background.audit import audit
from domain.background.closing import close_past_events_once
from domain.background.rebuilding import go_on, in_order, rebuild, rebuild_if_needed_once
from domain.background.reconciling import reconcile
from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import InventoryUnavailable
from domain.sales.events import Event
from domain.store.readiness import check
from domain.store.redis.keys import counters_key, due_key, epoch_key
from domain.store.redis.scripts import InventoryState
from tests.books import counters, differences
from tests.domain.background.past_events import change
from tests.domain.redis_faults import FAULTS, KEEPING, wipe
from tests.factories import ORGANIZED, book, make_account, make_event, pass_by
from tests.waiting import persist_all


class Killed(Exception):
    """The process of a rebuild dies here."""


class HalfRefilled(Struct):
    """An inventory whose rebuild died: `sold` is refilled, `left` is not. `before` are the counters of `left`."""

    sold: Event
    left: Event
    booking: Booking
    before: dict[str, int]


@pytest.fixture(params=[wipe, *KEEPING])
async def half(request, stores, valkey, monkeypatch):
    sold, left = await make_event(stores), await make_event(stores, capacity=10)
    booking = await book(stores, left, quantity=3)
    await book(stores, left, quantity=2)
    await stores.box_office.cancel(await book(stores, left))
    await persist_all(stores)
    await change(stores, left, paused=True)
    before = await counters(stores, left)
    await request.param(stores, valkey)
    with monkeypatch.context() as patched:
        patched.setattr(stores.ledger, "holdings", killed_at(left, stores.ledger.holdings))
        with pytest.raises(Killed):
            await rebuild(stores)
    return HalfRefilled(sold, left, booking, before)


def killed_at(event, holdings):
    """The sums of events, with a process that dies before those of `event`."""

    async def summed(event_ids, **options):
        if event.id in event_ids:
            raise Killed
        return await holdings(event_ids, **options)

    return summed


async def test_events_on_sale_are_refilled_first_then_those_to_come_then_the_rest(stores, monkeypatch):
    over, on_sale, cancelled = [await make_event(stores) for _ in range(3)]
    paused, scheduled = (
        await make_event(stores),
        await make_event(stores, sales_open_at=datetime.now(UTC) + timedelta(hours=1)),
    )
    await change(stores, paused, paused=True)
    await stores.event_actions.cancel(cancelled.id, caller=ORGANIZED)
    await pass_by(stores, over)
    holdings, turns = stores.ledger.holdings, []

    async def noted(event_ids, **options):
        turns.append(set(event_ids))
        return await holdings(event_ids, **options)

    monkeypatch.setattr(stores.ledger, "holdings", noted)

    rebuilt = await rebuild(stores)

    assert turns == [{on_sale.id}, {paused.id, scheduled.id}, {over.id, cancelled.id}]
    assert rebuilt.events == 5


async def test_what_is_refilled_sells_while_the_rest_is_not(stores, half):
    assert (await book(stores, half.sold)).status is BookingStatus.PENDING
    assert await stores.scripts.look() is InventoryState.REFILLING
    assert not await in_order(stores)
    assert (await check(stores, keys_current=True)).inventory == "ok"
    await rebuild_if_needed_once(stores)


async def test_another_worker_refills_what_is_left_in_the_same_epoch(stores, other_stores, half):
    epoch = stores.scripts.epoch
    sold = await book(stores, half.sold)

    rebuilt = await rebuild_if_needed_once(other_stores)

    assert (rebuilt.epoch, rebuilt.events) == (epoch, 1)
    assert await in_order(stores)
    assert await counters(stores, half.left) == half.before
    assert (await stores.box_office.booking(sold.id)).status is BookingStatus.PENDING
    assert await rebuild_if_needed_once(other_stores) is None


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_before_everything_is_refilled_needs_another_rebuild(stores, other_stores, valkey, half, fault):
    epoch = stores.scripts.epoch
    await fault(stores, valkey)

    assert await stores.scripts.look() is InventoryState.OVER
    rebuilt = await rebuild_if_needed_once(other_stores)

    assert (rebuilt.epoch, rebuilt.events) == (epoch + 1, 2)
    assert await counters(stores, half.left) == half.before


async def test_nothing_is_returned_to_an_event_that_is_not_refilled(stores, half):
    before = await stores.pipeline.redis.hgetall(counters_key(half.left.id))

    with pytest.raises(InventoryUnavailable):
        await stores.box_office.cancel(half.booking)

    assert await stores.pipeline.redis.hgetall(counters_key(half.left.id)) == before
    await rebuild_if_needed_once(stores)
    assert (await stores.box_office.cancel(half.booking)).status is BookingStatus.CANCELLED
    assert (await counters(stores, half.left))["pool:main"] == half.before["pool:main"] - half.booking.quantity


async def test_an_event_that_is_not_refilled_is_not_changed(stores, half):
    with pytest.raises(InventoryUnavailable):
        await change(stores, half.left, paused=False)
    with pytest.raises(InventoryUnavailable):
        await stores.event_actions.cancel(half.left.id, caller=ORGANIZED)
    with pytest.raises(InventoryUnavailable):
        await stores.catalog.renew_terms(half.left.id)

    unchanged = await stores.event_actions.find(half.left.id)
    await rebuild_if_needed_once(stores)

    assert (unchanged.paused, unchanged.cancelled_at) == (True, None)
    assert not (await change(stores, half.left, paused=False)).paused
    assert await counters(stores, half.left) == half.before


@pytest.mark.usefixtures("half")
async def test_an_event_is_created_while_others_are_not_refilled(stores):
    created = await make_event(stores, capacity=2)
    await book(stores, created, quantity=2)

    rebuilt = await rebuild_if_needed_once(stores)

    assert rebuilt.events == 1
    assert (await counters(stores, created))["pool:main"] == 2


@pytest.mark.usefixtures("half")
async def test_reconciliation_takes_no_event_that_is_not_refilled_for_a_fault(stores):
    epoch = stores.scripts.epoch

    outcomes = await reconcile(stores)

    assert outcomes == []
    assert await stores.epochs.current() == epoch
    await rebuild_if_needed_once(stores)
    assert not await differences(stores)


@pytest.mark.usefixtures("half")
async def test_an_audit_waits_until_everything_is_refilled(stores):
    with pytest.raises(InventoryUnavailable):
        await audit(stores)

    await rebuild_if_needed_once(stores)
    assert all(books.in_order for books in await audit(stores))


async def test_a_past_event_is_closed_after_it_is_refilled(stores, half):
    moved = "UPDATE events SET starts_at = starts_at - interval '40 days', opened_at = opened_at - interval '40 days'"
    async with stores.database.begin() as connection:
        await connection.exec_driver_sql(f"{moved} WHERE id = $1", (half.left.id,))

    early = await close_past_events_once(stores)
    await rebuild_if_needed_once(stores)
    late = await close_past_events_once(stores)

    assert (early.closed, early.put_off) == (0, 1)
    assert late.closed == 1


async def test_a_worker_that_freezes_while_it_refills_overwrites_nothing_that_was_sold_since(
    stores, other_stores, half, monkeypatch
):
    monkeypatch.setattr(rebuilding, "COUNTERS_PER_CHUNK", 1)
    holdings = stores.ledger.holdings

    async def frozen(event_ids, **options):
        summed = await holdings(event_ids, **options)
        await rebuild_if_needed_once(other_stores)
        await change(other_stores, half.left, paused=False)
        await book(other_stores, half.left, quantity=4)
        return summed

    monkeypatch.setattr(stores.ledger, "holdings", frozen)

    await go_on(stores)

    assert (await counters(stores, half.left))["pool:main"] == half.before["pool:main"] + 4
    assert await in_order(stores)


async def test_of_two_attempts_to_refill_an_event_only_the_later_one_goes_on(stores, half):
    """With the chunks of both, the terms would be in force before every counter is there."""
    token, user = stores.scripts.token, f"user:{(await make_account(stores)).hex}"
    event_id, terms = half.left.id, half.left.terms_token
    keys = [epoch_key(partition_of_event(event_id)), counters_key(event_id), due_key(event_id)]

    async def refill(*args):
        await stores.scripts.run_text("refill_counters", token, keys, list(args))

    await refill("one", "first", user, 1)
    await refill("other", "first", "pool:main", 5)
    await refill("one", "more", "terms", terms)
    assert await stores.inventory.uninstalled([half.left.id]) == [half.left.id]
    await refill("other", "more", "terms", "of the other")

    assert await stores.pipeline.redis.hmget(counters_key(half.left.id), "terms", "pool:main", user, "refilling") == [
        b"of the other",
        b"5",
        None,
        None,
    ]
    await rebuild(stores)
