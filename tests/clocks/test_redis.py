"""Redis' clock steps by ten minutes, forward and back: nothing is oversold, rejected or locked out."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from domain.background.closing import close_past_events_once
from domain.background.persisting import sweep_once
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.counters import POOL_MAIN
from domain.kernel.differences import Difference, Fault
from domain.kernel.refusals import EventStarted, NotOnSale, RateLimited, SoldOut
from domain.platform.settings import Limit
from domain.store.redis.admission import Rule
from domain.store.redis.keys import counters_key, lease_key
from tests.books import differences, retire, rows, taken
from tests.factories import book, make_account, make_event, pass_by
from tests.waiting import eventually, persist_all

STEP_S = 600
DAY_S = 86_400
EITHER_WAY = pytest.mark.parametrize("seconds", [-STEP_S, STEP_S], ids=["back", "forward"])


@pytest.fixture(autouse=True)
async def _balanced(stores):
    yield
    assert await differences(stores) == []


async def sell_out(stores, *, capacity=3, **fields):
    event = await make_event(stores, capacity=capacity, **fields)
    bookings = [await book(stores, event) for _ in range(capacity)]
    return event, bookings


@EITHER_WAY
async def test_reconciliation_does_not_take_a_step_for_drift(stores, set_redis_clock, seconds):
    event, _ = await sell_out(stores)
    await persist_all(stores)

    await set_redis_clock(seconds)
    outcomes = await reconcile(stores)

    assert (outcomes, await taken(stores, event)) == ([], 3)
    with pytest.raises(SoldOut):
        await book(stores, event)


async def test_reconciliation_does_not_take_what_is_sold_after_a_step_back_for_drift(stores, set_redis_clock):
    event, _ = await sell_out(stores, capacity=2)
    await persist_all(stores)
    await set_redis_clock(-STEP_S)
    more = await make_event(stores)
    await book(stores, more)
    await persist_all(stores)
    await book(stores, more)

    outcomes = await reconcile(stores)

    assert (outcomes, await taken(stores, event), await taken(stores, more)) == ([], 2, 2)
    await persist_all(stores)


async def test_reconciliation_mends_again_when_the_clock_has_come_back(stores, set_redis_clock):
    event, _ = await sell_out(stores)
    await persist_all(stores)
    await stores.pipeline.redis.hincrby(counters_key(event.id), POOL_MAIN, 2)
    await set_redis_clock(-STEP_S)
    assert await reconcile(stores) == []

    await set_redis_clock(0)
    await eventually(lambda: reconcile(stores))

    assert await taken(stores, event) == 3


async def test_a_rebuild_after_a_step_back_and_a_wipe_is_not_taken_for_drift(stores, set_redis_clock):
    event, _ = await sell_out(stores)
    await persist_all(stores)
    await set_redis_clock(-STEP_S)
    await stores.pipeline.redis.flushall()
    await rebuild(stores)

    assert (await reconcile(stores), await taken(stores, event)) == ([], 3)


async def test_a_rebuild_keeps_the_time_an_event_has_seen(stores, set_redis_clock):
    event = await make_event(stores)
    first = await book(stores, event)
    await set_redis_clock(-STEP_S)
    await rebuild(stores)

    second = await book(stores, event)

    assert second.created_at >= first.created_at
    await persist_all(stores)


@EITHER_WAY
async def test_a_counter_is_not_mended_by_readings_from_before_a_step(stores, set_redis_clock, seconds):
    event, _ = await sell_out(stores)
    await persist_all(stores)
    read_ms = await stores.inventory.now_ms()
    drift = Difference(event.id, Fault.COUNTER_TOO_HIGH, POOL_MAIN, 3, 0)

    await set_redis_clock(seconds)

    assert not await stores.books.mend(drift, mends=0, read_ms=read_ms)
    assert await taken(stores, event) == 3


async def test_tickets_returned_before_a_step_back_are_sold_and_confirmed_after_it(stores, set_redis_clock):
    event, (first, *_) = await sell_out(stores)
    await persist_all(stores)
    await stores.box_office.cancel(first)

    await set_redis_clock(-STEP_S)
    again = await book(stores, event)
    await persist_all(stores)

    assert again.created_at >= (await stores.box_office.booking(first.id)).cancelled_at
    assert await rows(stores, event) == {"confirmed": 3, "cancelled": 1}


@EITHER_WAY
async def test_a_booking_from_before_a_step_is_cancelled_after_it(stores, set_redis_clock, seconds):
    event, (first, second, _) = await sell_out(stores)
    await persist_all(stores)
    await set_redis_clock(seconds)
    if seconds < 0:
        # A clock that is set forward lets every lifetime end.
        await retire(stores, first)

    cancelled = [await stores.box_office.cancel(booking) for booking in (first, second)]
    await persist_all(stores)

    assert all(booking.cancelled_at >= booking.created_at for booking in cancelled)
    assert (await taken(stores, event), await rows(stores, event)) == (1, {"confirmed": 1, "cancelled": 2})


async def test_a_sale_seen_closed_stays_closed_after_a_step_back(stores, set_redis_clock):
    closes = datetime.now(UTC) + timedelta(minutes=5)
    event = await make_event(stores, sales_close_at=closes)
    await set_redis_clock(STEP_S)
    with pytest.raises(NotOnSale):
        await book(stores, event)

    await set_redis_clock(0)

    with pytest.raises(NotOnSale):
        await book(stores, event)
    ((_, _, status),) = await stores.event_actions.on_show([event])
    assert status == "closed"


async def test_an_event_is_closed_only_when_both_clocks_say_so(stores, set_redis_clock):
    event, _ = await sell_out(stores)
    await persist_all(stores)
    await set_redis_clock(-50 * DAY_S)
    await pass_by(stores, event)

    early = await close_past_events_once(stores)
    await set_redis_clock(0)
    in_time = await close_past_events_once(stores)

    assert (early.closed, in_time.closed) == (0, 1)


async def test_a_closed_event_stays_closed_after_a_step_back(stores, set_redis_clock):
    event, _ = await sell_out(stores)
    await persist_all(stores)
    await pass_by(stores, event)
    await close_past_events_once(stores)

    await set_redis_clock(-50 * DAY_S)

    with pytest.raises(NotOnSale):
        await book(stores, event)
    await set_redis_clock(0)


async def test_too_late_to_cancel_stays_too_late_after_a_step_back(stores, set_redis_clock):
    event = await make_event(stores, starts_at=datetime.now(UTC) + timedelta(minutes=5))
    booking = await book(stores, event)
    await persist_all(stores)
    await set_redis_clock(STEP_S)
    with pytest.raises(EventStarted):
        await stores.box_office.cancel(booking)

    await set_redis_clock(0)

    with pytest.raises(EventStarted):
        await stores.box_office.cancel(booking)


async def test_a_clock_that_was_wrong_by_a_day_does_not_close_an_event_for_a_day(stores, set_redis_clock):
    closes = datetime.now(UTC) + timedelta(hours=1)
    event = await make_event(stores, starts_at=datetime.now(UTC) + timedelta(days=3), sales_close_at=closes)
    await set_redis_clock(86_400)
    with pytest.raises(NotOnSale):
        await book(stores, event)

    await set_redis_clock(0)
    await book(stores, event)
    await persist_all(stores)

    assert await taken(stores, event) == 1


@EITHER_WAY
async def test_a_limit_locks_nobody_out_after_a_step(stores, set_redis_clock, seconds):
    rule = Rule.of("login", Limit.parse("2/min"), fails_open=False)
    address = f"192.0.2.{uuid4().int % 256}"

    async def ask():
        return await stores.admission.admit_address(address, rule)

    for _ in range(rule.quota):
        await ask()
    with pytest.raises(RateLimited):
        await ask()

    await set_redis_clock(seconds)

    assert (await ask()).remaining == 1


async def test_a_step_back_below_the_period_delays_by_less_than_the_period(stores, set_redis_clock):
    rule = Rule.of("login", Limit.parse("1/min"), fails_open=False)
    address = f"192.0.2.{uuid4().int % 256}"
    await set_redis_clock(30)
    await stores.admission.admit_address(address, rule)
    await set_redis_clock(0)

    # Either it is forgotten at once, or it is counted as if the clock had never been ahead.
    with suppress(RateLimited):
        await stores.admission.admit_address(address, rule)
    with pytest.raises(RateLimited) as refused:
        await stores.admission.admit_address(address, rule)

    assert refused.value.facts["retry_after_seconds"] <= rule.period_s


async def test_a_partition_of_a_dead_worker_is_persisted_after_a_step_back(stores, set_redis_clock):
    event = await make_event(stores)
    booking = await book(stores, event)
    # What is left of a lease of some milliseconds when the clock is set back.
    await stores.pipeline.redis.set(lease_key(booking.id.bytes[15]), "dead", px=1000 * STEP_S)
    await set_redis_clock(-STEP_S)

    await eventually(lambda: sweep_once(stores))

    assert await rows(stores, event) == {"confirmed": 1}


@EITHER_WAY
async def test_bookings_go_on_after_a_step(stores, set_redis_clock, seconds):
    event = await make_event(stores)
    user_id = await make_account(stores)
    await book(stores, event, user_id=user_id)
    await set_redis_clock(seconds)
    await eventually(lambda: sweep_once(stores))

    for _ in range(3):
        await book(stores, event, user_id=user_id)
    await persist_all(stores)

    assert await rows(stores, event) == {"confirmed": 4}
