"""Events of the past, for tests that close and reopen them."""

from __future__ import annotations

from domain.background.closing import close_past_events_once
from domain.sales.events import EventChanges
from domain.store.redis.keys import counters_key
from tests.factories import ORGANIZED, book, make_account, make_event, pass_by
from tests.waiting import persist_all


async def sold_event(stores):
    """An event of ten tickets: one account has three, another returned two; and the first account's booking."""
    event = await make_event(stores, capacity=10, max_per_user=4)
    user_id = await make_account(stores)
    booking = await book(stores, event, user_id=user_id, quantity=3, key="order")
    given_back = await book(stores, event, quantity=2)
    await persist_all(stores)
    await stores.box_office.cancel(given_back)
    await persist_all(stores)
    return event, booking


async def closed_event(stores):
    event, booking = await sold_event(stores)
    await pass_by(stores, event)
    done = await close_past_events_once(stores)
    assert done.closed == 1
    return event, booking


async def has_counters(stores, event):
    return bool(await stores.pipeline.redis.exists(counters_key(event.id)))


async def change(stores, event, **changes):
    return await stores.event_actions.change(event.id, EventChanges(**changes), caller=ORGANIZED, expected_version=None)


async def status_of(stores, event):
    ((_, remaining, status),) = await stores.event_actions.on_show([await stores.event_actions.find(event.id)])
    return remaining, status
