"""What ends a hold, its event or the inventory, at the same instant as a change of the hold: one of them wins whole."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest

from domain.background.persisting import expire
from domain.background.rebuilding import rebuild
from domain.background.reconciling import reconcile
from domain.kernel.bookings import HOLDING, BookingStatus
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import CapacityBelowSold, Conflict, Unavailable
from domain.sales.events import EventChanges
from tests.books import pool, row, taken
from tests.factories import ORGANIZED, book, hold, make_due, make_event, reduce, tomorrow
from tests.waiting import eventually, persist_all

ROUNDS = 30
"""Holds of each pair, each of an event of its own."""

PACE_S = 0.0005
"""The start of the end is moved from round to round, so that it meets every step of the change."""


async def confirm(stores, held):
    return await stores.box_office.confirm(held.id)


async def confirm_late(stores, held):
    await make_due(stores, held)
    return await stores.box_office.confirm(held.id)


async def extend(stores, held):
    return await stores.box_office.extend(held.id, hold_ms=300_000, cap_ms=600_000)


async def reduce_one(stores, held):
    return await reduce(stores, held, 1)


async def give_back(stores, _event, held):
    await stores.box_office.cancel(held)


async def pass_deadline(stores, event, held):
    await make_due(stores, held)
    await expire(stores, partition_of_event(event.id))


async def rival(stores, event, held):
    await make_due(stores, held)
    await book(stores, event)


async def pause(stores, event, _held):
    await change(stores, event, paused=True)


async def shrink(stores, event, _held):
    with suppress(CapacityBelowSold):
        await change(stores, event, capacity=2)


async def move(stores, event, _held):
    await change(stores, event, starts_at=tomorrow() + timedelta(days=3))


async def cancel_event(stores, event, _held):
    await stores.event_actions.cancel(event.id, caller=ORGANIZED)
    await stores.box_office.clear_event(event.id, after=None)


async def persist(stores, _event, _held):
    await persist_all(stores)


async def begin_epoch(stores, _event, _held):
    await rebuild(stores)


async def change(stores, event, **fields):
    await stores.event_actions.change(event.id, EventChanges(**fields), caller=ORGANIZED, expected_version=None)


ENDS = (give_back, pass_deadline, rival, pause, shrink, move, cancel_event, persist, begin_epoch)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
@pytest.mark.parametrize("made", [confirm, confirm_late, extend, reduce_one], ids=lambda made: made.__name__)
async def test_a_change_of_a_hold_and_what_ends_it_do_not_both_win(stores, made, end):
    for number in range(ROUNDS):
        event = await make_event(stores, capacity=3)
        await book(stores, event)
        held = await hold(stores, event, quantity=2)
        if number % 2:
            await persist_all(stores)

        async def ended(event=event, held=held, number=number):
            await asyncio.sleep(number * PACE_S / ROUNDS * 10)
            with suppress(Conflict, Unavailable):
                await end(stores, event, held)

        changed, _ = await asyncio.gather(made(stores, held), ended(), return_exceptions=True)

        assert not isinstance(changed, BaseException) or isinstance(changed, Conflict | Unavailable), changed
        await persist_all(stores)
        await until_cleared(stores, event)
        stored = await row(stores, held)
        told = (await stores.box_office.booking(held.id)).status
        holds = stored["status"] in {"held", "confirmed"}
        if not isinstance(changed, BaseException) and made is not extend and changed.status is BookingStatus.PENDING:
            # Only whoever may cancel a booking ends one that was acknowledged as confirmed.
            assert told is BookingStatus.CONFIRMED or end in {give_back, cancel_event}
        assert (told in HOLDING) == holds or told is BookingStatus.EXPIRED
        assert await taken(stores, event) == (await pool(stores, event))[1]
    assert await reconcile(stores) == []


async def until_cleared(stores, event):
    """Persist what a cancelled event has left, as workers do until nothing of it holds tickets."""
    if (await stores.event_actions.find(event.id)).cancelled_at is None:
        return

    async def cleared():
        _, left = await stores.box_office.clear_event(event.id, after=None)
        await persist_all(stores)
        return left == 0

    await eventually(cleared)
