"""While Redis' memory is full, nothing is sold; all else goes on and frees memory."""

from __future__ import annotations

import pytest
from arq.constants import health_check_key_suffix
from msgspec import structs

from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.counters import POOL_MAIN
from domain.kernel.refusals import Unauthenticated, Unavailable
from domain.platform.settings import Limit
from domain.sales.events import EventChanges
from domain.store.job_queue import QUEUE_NAME
from domain.store.redis.admission import Ask, Rule
from domain.store.redis.keys import counters_key
from tests.books import retire, rows, taken, unlist
from tests.factories import ORGANIZED, book, make_event, open_session
from tests.waiting import eventually, persist_all

ROOM_BYTES = 1_000_000
"""Some hundred bookings."""

FULL_BYTES = 1
"""Less than Valkey uses: whatever may not run with a full memory is refused."""

RULE = Rule.of("bookings", Limit.parse("100/min"), fails_open=False)


@pytest.fixture
async def leave_room(stores):
    """Sets the bytes that Redis may use; without a limit again after the test."""
    redis = stores.pipeline.redis

    async def leave_room(used):
        await redis.config_set("maxmemory", used)

    yield leave_room
    await redis.config_set("maxmemory", 0)


@pytest.fixture
def fill(leave_room):
    """Lets Redis' memory be full."""
    return lambda: leave_room(FULL_BYTES)


async def fill_by_selling(stores, event, leave_room):
    """Sell until there is no memory left; answers what was sold."""
    used = (await stores.pipeline.redis.info("memory"))["used_memory"]
    await leave_room(used + ROOM_BYTES)
    sold = []
    while True:
        try:
            sold.append(await book(stores, event))
        except Unavailable:
            return sold


async def test_a_memory_that_sales_have_filled_gets_free_by_itself(stores, leave_room):
    event = await make_event(stores, capacity=100_000)
    sold = await fill_by_selling(stores, event, leave_room)

    await persist_all(stores)
    assert await rows(stores, event) == {"confirmed": len(sold)}
    await stores.box_office.cancel(sold[0])
    await persist_all(stores)
    for booking in sold:
        await retire(stores, booking)
    await book(stores, event)
    await persist_all(stores)

    assert await rows(stores, event) == {"confirmed": len(sold), "cancelled": 1}
    assert await reconcile(stores) == []


async def test_nothing_is_sold_with_a_full_memory(stores, fill):
    event = await make_event(stores)
    await fill()

    with pytest.raises(Unavailable):
        await book(stores, event)

    assert await taken(stores, event) == 0


async def test_a_retired_booking_is_cancelled_with_a_full_memory(stores, fill):
    event = await make_event(stores)
    booking = await book(stores, event)
    await persist_all(stores)
    await retire(stores, booking)
    await fill()

    await stores.box_office.cancel(booking)
    await persist_all(stores)

    assert (await taken(stores, event), await rows(stores, event)) == (0, {"cancelled": 1})


async def test_a_rebuild_is_made_with_a_full_memory(stores, fill):
    event = await make_event(stores)
    await book(stores, event)
    await fill()

    await rebuild(stores)

    assert (await taken(stores, event), await rows(stores, event)) == (1, {"confirmed": 1})


async def test_books_are_mended_with_a_full_memory(stores, fill):
    event = await make_event(stores)
    booking = await book(stores, event)
    await unlist(stores, booking)
    await stores.pipeline.redis.hincrby(counters_key(event.id), POOL_MAIN, 2)
    await fill()

    await eventually(lambda: reconcile(stores), is_so=lambda outcomes: not outcomes)
    await persist_all(stores)

    assert (await taken(stores, event), await rows(stores, event)) == (1, {"confirmed": 1})


async def test_a_sale_is_stopped_with_a_full_memory(stores, fill):
    event = await make_event(stores)
    await fill()

    paused = await stores.event_actions.change(
        event.id, EventChanges(paused=True), caller=ORGANIZED, expected_version=None
    )

    assert paused.paused


async def test_a_ban_is_heard_of_with_a_full_memory(stores, fill):
    token = await open_session(stores)
    await stores.admission.admit(Ask.by(token, RULE))
    await fill()
    await stores.admission.admit(Ask.by(token, RULE))

    account = await stores.accounts.find(token.account_id)
    await stores.admission.tokens_ended(structs.replace(account, token_epoch=account.token_epoch + 1))

    with pytest.raises(Unauthenticated):
        await stores.admission.admit(Ask.by(token, RULE))


async def test_who_was_never_heard_of_is_admitted_with_a_full_memory(stores, fill):
    token = await open_session(stores)
    await fill()

    ask = Ask.by(token, RULE)
    await stores.admission.admit(ask)
    assert ask.admitted.remaining == RULE.quota - 1
    assert (await stores.admission.admit_address("192.0.2.7", RULE)).remaining == RULE.quota - 1


async def test_workers_go_on_with_a_full_memory(stores, processes, fill):
    event, other = await make_event(stores), await make_event(stores)
    bookings = [await book(stores, each) for each in (event, other)]
    await fill()
    processes.worker()
    queue = stores.queue

    await eventually(lambda: rows(stores, event), is_so=lambda found: found == {"confirmed": 1})
    await stores.box_office.cancel(bookings[0])
    await stores.event_actions.cancel(other.id, caller=ORGANIZED)

    await eventually(lambda: rows(stores, event), is_so=lambda found: found == {"cancelled": 1})
    await eventually(lambda: rows(stores, other), is_so=lambda found: found == {"cancelled": 1})
    await queue.delete(QUEUE_NAME + health_check_key_suffix)
    assert await eventually(lambda: queue.exists(QUEUE_NAME + health_check_key_suffix))
