"""No ticket is sold twice, however many buyers ask at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from domain.engine import open_stores
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import NotOnSale, PersistenceLagging, PerUserLimit, Refusal, SoldOut
from domain.sales.events import EventChanges
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from tests.books import counters, rows, taken, unpersisted
from tests.factories import ORGANIZED, book, make_account, make_accounts, make_event
from tests.waiting import eventually, persist_all


async def ask_at_once(stores, other_stores, event, buyers, *, quantity=1):
    """Every buyer asks now, at one of two processes; answers the bookings and the refusals."""
    answers = await asyncio.gather(
        *(
            (stores, other_stores)[number % 2].box_office.reserve(
                Ask.trusted(buyer), TicketOrder(event.id, quantity, f"key-{number}")
            )
            for number, buyer in enumerate(buyers)
        ),
        return_exceptions=True,
    )
    return (
        [answer.booking for answer in answers if not isinstance(answer, BaseException)],
        [answer for answer in answers if isinstance(answer, BaseException)],
    )


async def test_the_last_ticket_is_sold_once(stores, other_stores):
    event = await make_event(stores, capacity=1)
    buyers = await make_accounts(stores, 200)

    sold, refused = await ask_at_once(stores, other_stores, event, buyers)

    assert len(sold) == 1
    assert {(type(refusal), refusal.facts["remaining"]) for refusal in refused} == {(SoldOut, 0)}
    assert await taken(stores, event) == 1


@pytest.mark.usefixtures("worker")
async def test_five_hundred_buyers_get_a_hundred_tickets(stores, other_stores):
    event = await make_event(stores, capacity=100)
    buyers = await make_accounts(stores, 500)

    sold, refused = await ask_at_once(stores, other_stores, event, buyers)

    await eventually(lambda: unpersisted(stores), is_so=lambda waiting: not waiting)
    assert (len(sold), len(refused)) == (100, 400)
    assert await rows(stores, event) == {"confirmed": 100}


async def test_a_booking_takes_all_it_asks_for_or_nothing(stores):
    event = await make_event(stores, capacity=5)
    await book(stores, event, quantity=3)
    before = await counters(stores, event)

    with pytest.raises(SoldOut) as refused:
        await book(stores, event, quantity=3)

    assert refused.value.facts == {"remaining": 2}
    assert await counters(stores, event) == before


async def test_an_account_gets_no_more_tickets_than_the_event_allows(stores, other_stores):
    event = await make_event(stores, capacity=100, max_per_user=4)
    buyer = await make_account(stores)

    sold, refused = await ask_at_once(stores, other_stores, event, [buyer] * 50)

    assert len(sold) == 4
    assert {(type(refusal), refusal.facts["limit"], refusal.facts["already_booked"]) for refusal in refused} == {
        (PerUserLimit, 4, 4)
    }


async def test_a_cancelled_booking_does_not_count_against_the_limit_of_the_account(stores):
    event = await make_event(stores, max_per_user=2)
    buyer = await make_account(stores)
    booking = await book(stores, event, user_id=buyer, quantity=2)

    await stores.box_office.cancel(booking)

    assert (await book(stores, event, user_id=buyer, quantity=2)).quantity == 2


async def test_the_limit_of_an_account_is_named_even_when_the_event_is_sold_out(stores):
    event = await make_event(stores, capacity=2, max_per_user=2)
    buyer = await make_account(stores)
    await book(stores, event, user_id=buyer, quantity=2)

    with pytest.raises(PerUserLimit):
        await book(stores, event, user_id=buyer)


async def test_nothing_is_sold_before_sales_open(stores):
    opens = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    event = await make_event(stores, sales_open_at=opens)

    with pytest.raises(NotOnSale) as refused:
        await book(stores, event)

    assert refused.value.facts == {"event_status": EventStatus.SCHEDULED, "sales_open_at": opens}


async def test_sales_open_on_the_millisecond_without_anybody_doing_anything(stores):
    opens = datetime.now(UTC) + timedelta(milliseconds=300)
    event = await make_event(stores, sales_open_at=opens)
    buyer = await make_account(stores)

    async def booking_or_refusal():
        try:
            return await book(stores, event, user_id=buyer)
        except NotOnSale:
            return None

    booking = await eventually(booking_or_refusal)

    assert booking.created_at >= event.sales_open_at


async def test_nothing_is_sold_after_sales_close(stores):
    closes = datetime.now(UTC) + timedelta(milliseconds=200)
    event = await make_event(stores, sales_close_at=closes)
    await eventually(stores.inventory.now_ms, is_so=lambda now: now >= event.terms.closes_ms)

    with pytest.raises(NotOnSale) as refused:
        await book(stores, event)

    assert refused.value.facts["event_status"] is EventStatus.CLOSED


async def test_a_paused_sale_stops_and_goes_on(stores, other_stores):
    event = await make_event(stores)
    await book(other_stores, event)

    await stores.event_actions.change(event.id, EventChanges(paused=True), caller=ORGANIZED, expected_version=None)
    with pytest.raises(NotOnSale) as refused:
        await book(other_stores, event)
    await stores.event_actions.change(event.id, EventChanges(paused=False), caller=ORGANIZED, expected_version=None)

    assert refused.value.facts["event_status"] is EventStatus.PAUSED
    assert await book(other_stores, event)


async def test_too_much_unpersisted_work_refuses_bookings_but_not_cancellations(stores, settings):
    few = settings.model_copy(update={"unpersisted_max": 100})
    event = await make_event(stores, capacity=1000)
    buyers = await make_accounts(stores, 100)
    first, *_ = [await book(stores, event, user_id=buyer) for buyer in buyers]

    async with open_stores(few) as cautious:
        await cautious.scripts.refresh()
        with pytest.raises(PersistenceLagging):
            await book(cautious, event)
        cancelled = await cautious.box_office.cancel(first)
        await persist_all(stores)
        accepted = await book(cautious, event)

    assert (cancelled.status, accepted.status) == ("cancelled", "pending")


async def test_work_unpersisted_for_too_long_refuses_bookings(stores):
    event = await make_event(stores)
    booking = await book(stores, event)
    now_ms = await stores.inventory.now_ms()
    await stores.pipeline.redis.zadd(f"{{p{booking.id.bytes[15]}}}:unpersisted", {str(booking.id): now_ms - 5_100})

    with pytest.raises(PersistenceLagging):
        await book(stores, event)
    await persist_all(stores)

    assert await book(stores, event)


async def test_a_refusal_takes_nothing_and_leaves_no_trace(stores):
    event = await make_event(stores, capacity=1)
    buyer = await make_account(stores)
    await stores.event_actions.change(event.id, EventChanges(paused=True), caller=ORGANIZED, expected_version=None)
    keys = {key async for key in stores.pipeline.redis.scan_iter()}

    with pytest.raises(Refusal):
        await book(stores, event, user_id=buyer, key="order-1")

    assert {key async for key in stores.pipeline.redis.scan_iter()} == keys
