"""Counts of refused bookings by reason, for organizers."""

from __future__ import annotations

import pytest

from domain.kernel.refusals import PerUserLimit, SoldOut
from tests.factories import book, make_account, make_event
from tests.waiting import eventually


async def test_refusals_of_the_last_hour_are_counted_by_reason(stores):
    event = await make_event(stores, capacity=2, max_per_user=2)
    quiet = await make_event(stores)
    user_id = await make_account(stores)
    await book(stores, event, user_id=user_id, quantity=2)

    for _ in range(3):
        with pytest.raises(SoldOut):
            await book(stores, event)
    with pytest.raises(PerUserLimit):
        await book(stores, event, user_id=user_id)

    counted = await eventually(
        lambda: stores.refusal_counts.last_hour([event.id, quiet.id]), is_so=lambda counts: bool(counts[event.id])
    )
    assert counted == {event.id: {"sold_out": 3, "per_user_limit": 1}, quiet.id: {}}


async def test_what_is_left_to_tell_is_told_at_the_end(stores, other_stores):
    event = await make_event(stores, capacity=1)
    await book(other_stores, event)
    with pytest.raises(SoldOut):
        await book(other_stores, event)

    await other_stores.refusal_counts.close()

    assert await stores.refusal_counts.last_hour([event.id]) == {event.id: {"sold_out": 1}}
