"""A change that moves a closed event into the future opens it again, with the counters it had."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from msgspec import structs
from sqlalchemy import text

from domain.background.closing import close_past_events_once
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.event_status import EventStatus
from domain.kernel.partitions import booking_id_for_key
from domain.kernel.refusals import (
    InventoryUnavailable,
    NotOnSale,
    PerUserLimit,
    SoldOut,
    Unavailable,
)
from domain.store.postgres.epochs import EpochOver
from tests.books import counters, pool, rows
from tests.domain.background.past_events import change, closed_event, sold_event, status_of
from tests.factories import book, make_event, pass_by, tomorrow
from tests.waiting import eventually, persist_all

ROUNDS = 12


async def test_a_change_into_the_future_opens_an_event_again(stores, other_stores):
    event, booking = await sold_event(stores)
    before = await counters(stores, event)
    await pass_by(stores, event)
    await close_past_events_once(stores)
    with pytest.raises(NotOnSale):
        await book(other_stores, event)

    await change(stores, event, starts_at=tomorrow())

    assert await counters(stores, event) == before
    assert await status_of(stores, event) == (7, EventStatus.ON_SALE)
    with pytest.raises(PerUserLimit):
        await book(other_stores, event, user_id=booking.user_id, quantity=2)
    await book(other_stores, event, user_id=booking.user_id)
    await book(stores, event, quantity=4)
    await book(stores, event, quantity=2)
    with pytest.raises(SoldOut):
        await book(other_stores, event)
    await persist_all(stores)
    assert await pool(stores, event) == (10, 10)
    assert set(await rows(stores, event)) == {"confirmed", "cancelled"}
    assert await reconcile(stores) == []
    assert (await close_past_events_once(stores)).closed == 0


async def test_an_event_that_many_accounts_booked_is_opened_again_in_steps(stores):
    event = await make_event(stores, capacity=5_000)
    async with stores.database.begin() as connection:
        await connection.execute(
            text(
                """
                INSERT INTO accounts (id, email, email_key, password_hash, role, status, token_epoch, created_at)
                SELECT id, id || '@example.org', id || '@example.org', '', 'attendee', 'active', 0, now()
                FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 2500)) AS new
                """
            )
        )
        await connection.execute(
            text(
                """
                INSERT INTO bookings (id, event_id, user_id, quantity, status, version, created_at, confirmed_at)
                SELECT gen_random_uuid(), :event_id, id, 1, 'confirmed', 1, now(), now() FROM accounts
                WHERE role = 'attendee'
                """
            ),
            {"event_id": event.id},
        )
        await connection.execute(
            text("UPDATE counters SET taken = 2500 WHERE event_id = :event_id"), {"event_id": event.id}
        )
    await rebuild(stores)
    before = await counters(stores, event)
    await pass_by(stores, event)
    await close_past_events_once(stores)

    await change(stores, event, starts_at=tomorrow())

    assert len(before) == 2_501
    assert await counters(stores, event) == before


async def test_an_event_that_a_killed_pass_left_can_be_opened_again(stores):
    event, _ = await sold_event(stores)
    before = await counters(stores, event)
    await pass_by(stores, event)
    was = await stores.past_events.mark_closed(event.id, kept=timedelta(days=7))

    await change(stores, event, starts_at=tomorrow())
    removed_late = await stores.inventory.remove_counters(event.id, terms=was.terms_token)

    assert not removed_late
    assert await counters(stores, event) == before


async def test_an_opening_that_was_cut_short_sells_nothing_and_is_done_again(stores):
    event, before = await closed_with_counters(stores)
    cut_short = await terms_with_token(stores, event, "cut")
    await stores.inventory.reopen("begin", cut_short)
    with pytest.raises(NotOnSale):
        await book(stores, event)

    await change(stores, event, starts_at=tomorrow())

    assert await counters(stores, event) == before
    for step in ("begin", "fill", "finish"):
        with pytest.raises(InventoryUnavailable):
            await stores.inventory.reopen(step, cut_short, fields=[POOL_MAIN, 0])
    assert await counters(stores, event) == before


async def test_an_opening_that_was_overtaken_adds_nothing(stores):
    event, before = await closed_with_counters(stores)
    frozen, later = [await terms_with_token(stores, event, token) for token in ("frozen", "later")]
    await stores.inventory.reopen("begin", frozen)
    await stores.inventory.reopen("begin", later)

    for step in ("fill", "finish"):
        with pytest.raises(InventoryUnavailable):
            await stores.inventory.reopen(step, frozen, fields=[POOL_MAIN, 0])

    assert await counters(stores, event) == {}
    await change(stores, event, starts_at=tomorrow())
    assert await counters(stores, event) == before


async def test_an_opening_that_was_not_committed_sells_nothing_and_is_done_again(stores):
    event, before = await closed_with_counters(stores)
    lost = await terms_with_token(stores, event, "lost")
    await stores.inventory.reopen("begin", lost)
    await stores.inventory.reopen("finish", lost, fields=[POOL_MAIN, 3, f"size:{POOL_MAIN}", 10])
    with pytest.raises(NotOnSale):
        await book(stores, event)

    await change(stores, event, starts_at=tomorrow())

    assert await counters(stores, event) == before
    assert await reconcile(stores) == []


async def test_an_event_is_not_opened_while_a_booking_of_it_waits_for_the_rebuild(stores):
    event, booking = await closed_event(stores)
    another_id = booking_id_for_key(account_id=booking.user_id, idempotency_key="other", event_id=event.id)
    claims = f"{user_counter(booking.user_id)}=1 {POOL_MAIN}=1"
    waiting = structs.replace(booking, id=another_id, quantity=1, claims=claims)
    await stores.intents.append(waiting, epoch=stores.scripts.epoch)
    with pytest.raises(Unavailable):
        await change(stores, event, starts_at=tomorrow())

    await rebuild(stores)
    await change(stores, event, starts_at=tomorrow())

    assert await counters(stores, event) == {POOL_MAIN: 4, user_counter(booking.user_id): 4}
    with pytest.raises(PerUserLimit):
        await book(stores, event, user_id=booking.user_id)


async def test_closing_opening_and_rebuilding_at_once_lose_nothing(stores, other_stores):
    event, _ = await sold_event(stores)
    before = await counters(stores, event)

    async def tried(work):
        with suppress(Unavailable, EpochOver):
            await work

    for number in range(ROUNDS):
        await pass_by(stores, event)
        if number % 2:
            await close_past_events_once(stores)
        works = [
            tried(close_past_events_once(stores)),
            tried(close_past_events_once(other_stores)),
            tried(change(other_stores, event, starts_at=datetime.now(UTC) + timedelta(days=1 + number))),
        ]
        if number % 3 == 2:
            works.append(tried(rebuild(stores)))
        await asyncio.gather(*works)

        await eventually(partial(opened, stores, event, number))
        assert await counters(stores, event) == before
        assert await reconcile(stores) == []
    await other_stores.scripts.refresh()
    await book(stores, event, quantity=4)
    await book(other_stores, event, quantity=3)
    with pytest.raises(SoldOut):
        await book(other_stores, event)
    await persist_all(stores)


async def opened(stores, event, number):
    """Try once to have it in the future; whether it is."""
    with suppress(Unavailable, EpochOver):
        found = await change(stores, event, starts_at=tomorrow() + timedelta(days=number))
        return found.closed_at is None
    return False


async def closed_with_counters(stores):
    """A closed event, and the counters that it had before."""
    event, _ = await sold_event(stores)
    before = await counters(stores, event)
    await pass_by(stores, event)
    await close_past_events_once(stores)
    return event, before


async def terms_with_token(stores, event, token):
    """The terms of an opening of the event that is under way with `token`."""
    return structs.replace((await stores.events.find(event.id)).terms, token=token)
