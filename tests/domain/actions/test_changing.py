"""A change of an event is in force once it is answered: no process sells by the former terms."""

from __future__ import annotations

import asyncio

import pytest
from msgspec import structs
from sqlalchemy import text

from domain.kernel.bookings import NewBooking
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import random_booking_id
from domain.kernel.refusals import (
    CapacityBelowSold,
    EventNotFound,
    Invalid,
    Refusal,
    SoldOut,
    Unavailable,
    VersionMismatch,
)
from domain.sales.events import EventChanges
from domain.sales.orders import TicketOrder
from domain.store.redis.inventory import TermsStale
from tests.books import pool, taken
from tests.factories import ORGANIZED, book, make_account, make_accounts, make_event, new_event, tomorrow
from tests.waiting import persist_all


async def test_capacity_raised_sells_at_once_also_in_processes_that_did_not_hear_of_it(stores, other_stores):
    event = await make_event(stores, capacity=2)
    await book(other_stores, event, quantity=2)

    await change(stores, event, capacity=3)

    assert (await book(other_stores, event)).quantity == 1
    with pytest.raises(SoldOut):
        await book(other_stores, event)


async def test_capacity_lowered_is_in_force_at_once(stores, other_stores):
    event = await make_event(stores, capacity=10)
    await book(other_stores, event, quantity=2)

    await change(stores, event, capacity=3)

    with pytest.raises(SoldOut) as refused:
        await book(other_stores, event, quantity=2)
    assert refused.value.facts == {"remaining": 1}


async def test_capacity_is_not_lowered_below_what_is_pending(stores):
    event = await make_event(stores, capacity=10)
    await book(stores, event, quantity=7)

    with pytest.raises(CapacityBelowSold) as refused:
        await change(stores, event, capacity=6)

    assert refused.value.facts == {"sold": 7}
    assert (await stores.event_actions.find(event.id)).capacity == 10
    assert await pool(stores, event) == (10, 0)
    assert (await book(stores, event, quantity=3)).quantity == 3


async def test_capacity_is_not_lowered_below_what_is_confirmed(stores):
    event = await make_event(stores, capacity=10)
    await book(stores, event, quantity=7)
    await persist_all(stores)

    with pytest.raises(CapacityBelowSold) as refused:
        await change(stores, event, capacity=6)

    assert refused.value.facts == {"sold": 7}
    assert await pool(stores, event) == (10, 7)


async def test_capacity_is_lowered_to_what_is_sold(stores):
    event = await make_event(stores, capacity=10)
    await book(stores, event, quantity=7)
    await persist_all(stores)

    changed = await change(stores, event, capacity=7)

    assert (changed.capacity, changed.version) == (7, event.version + 1)
    assert await pool(stores, event) == (7, 7)


async def test_capacity_waits_for_cancelled_tickets_that_are_not_persisted(stores):
    event = await make_event(stores, capacity=10)
    booking = await book(stores, event, quantity=7)
    await persist_all(stores)
    await stores.box_office.cancel(booking)

    with pytest.raises(Unavailable) as refused:
        await change(stores, event, capacity=3)
    await persist_all(stores)
    changed = await change(stores, event, capacity=3)

    assert refused.value.facts["retry_after_seconds"] >= 1
    assert changed.capacity == 3


async def test_capacity_lowered_in_a_rush_is_never_below_the_tickets_sold(stores, other_stores):
    event = await make_event(stores, capacity=200)
    buyers = await make_accounts(stores, 150)

    sales = [book((stores, other_stores)[number % 2], event, user_id=buyer) for number, buyer in enumerate(buyers)]
    cuts = [change(stores, event, capacity=size) for size in (60, 90, 30, 120)]
    await asyncio.gather(*sales, *cuts, return_exceptions=True)
    await persist_all(stores)

    capacity = (await stores.event_actions.find(event.id)).capacity
    assert await taken(stores, event) <= capacity
    assert await pool(stores, event) == (capacity, await taken(stores, event))


async def test_terms_that_are_over_are_refused(stores):
    event = await make_event(stores)
    new = NewBooking(random_booking_id(event.id), await make_account(stores), TicketOrder(event.id, 1))
    await change(stores, event, max_per_user=7)

    with pytest.raises(TermsStale):
        await stores.inventory.reserve(new, event.terms, looked_up=True)

    assert await taken(stores, event) == 0


async def test_terms_that_are_over_are_reloaded_by_whoever_held_them(stores, other_stores):
    event = await make_event(stores, max_per_user=1)
    buyer = await make_account(stores)
    await book(other_stores, event, user_id=buyer)

    await change(stores, event, max_per_user=2)

    assert await book(other_stores, event, user_id=buyer)


async def test_a_change_that_died_between_redis_and_postgresql_is_mended_by_the_next_booking(stores):
    event = await make_event(stores, capacity=5)
    await stores.inventory.install(structs.replace(event.terms, token="never committed", sizes={POOL_MAIN: 9}))

    booking = await book(stores, event, quantity=5)

    assert booking.quantity == 5
    with pytest.raises(SoldOut):
        await book(stores, event)


async def test_a_change_by_somebody_who_saw_an_older_version_is_refused(stores):
    event = await make_event(stores)
    changed = await change(stores, event, title="Kraftwerk, moved")

    with pytest.raises(VersionMismatch) as refused:
        await stores.event_actions.change(
            event.id, EventChanges(title="Kraftwerk, again"), caller=ORGANIZED, expected_version=event.version
        )

    assert refused.value.facts == {"version": changed.version}


async def test_a_change_to_what_it_is_already_changes_nothing(stores):
    event = await make_event(stores, capacity=10)

    same = await change(stores, event, capacity=10, title=event.title)

    assert same == event


async def test_changes_at_once_are_all_made(stores, other_stores):
    event = await make_event(stores)

    await asyncio.gather(
        change(stores, event, title="Autobahn"),
        change(other_stores, event, location="Düsseldorf"),
        change(stores, event, capacity=50),
        change(other_stores, event, max_per_user=5),
    )

    changed = await stores.event_actions.find(event.id)
    assert (changed.title, changed.location, changed.capacity, changed.max_per_user) == (
        "Autobahn",
        "Düsseldorf",
        50,
        5,
    )
    assert changed.version == event.version + 4
    assert await book(stores, event, quantity=5)


async def test_an_event_nobody_made_cannot_be_changed(stores):
    await make_event(stores)
    with pytest.raises(EventNotFound):
        await stores.event_actions.change(
            await make_account(stores), EventChanges(title="Nothing"), caller=ORGANIZED, expected_version=None
        )


async def test_a_cancelled_event_cannot_be_changed(stores):
    event = await make_event(stores)
    await stores.event_actions.cancel(event.id, caller=ORGANIZED)

    with pytest.raises(Refusal):
        await change(stores, event, capacity=500)


@pytest.mark.parametrize(
    ("pointer", "fields"),
    [
        ("/starts_at", {"starts_at": tomorrow().replace(year=2020)}),
        ("/ends_at", {"ends_at": tomorrow().replace(year=2021)}),
        ("/sales_close_at", {"sales_close_at": tomorrow().replace(year=2099)}),
        ("/sales_open_at", {"sales_open_at": tomorrow().replace(year=2099)}),
    ],
)
async def test_times_that_contradict_each_other_make_no_event(stores, pointer, fields):
    await make_event(stores)

    with pytest.raises(Invalid) as refused:
        await stores.event_actions.create(new_event(**fields), caller=ORGANIZED)

    assert [error["pointer"] for error in refused.value.facts["errors"]] == [pointer]
    assert (await stores.events.page(limit=2)).total == 1


async def change(stores, event, **fields):
    return await stores.event_actions.change(event.id, EventChanges(**fields), caller=ORGANIZED, expected_version=None)


async def test_bookings_are_persisted_while_their_event_is_being_changed(stores, other_stores):
    """A worker locks the pool and then refers to the event; a change locks the event and then the pool."""
    event = await make_event(stores)
    booking = await book(stores, event)

    async with stores.database.begin() as connection:
        await stores.catalog._writes.hold_event(connection, event.id)
        await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        await persist_all(other_stores)

    assert (await stores.ledger.find(booking.id)).id == booking.id
    assert await pool(stores, event) == (100, 1)
