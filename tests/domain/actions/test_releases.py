"""When sold-out tickets may come back, as refusals of orders by ticket type tell it."""

from __future__ import annotations

import pytest

from domain.actions.releases import HOLDS_LOOKED_AT
from domain.kernel.refusals import SoldOut
from tests.factories import book, make_account, make_event
from tests.selling import make_priced_event, order, sell, ticket_pool, ticket_type


async def earliest(stores, event, *lines):
    with pytest.raises(SoldOut) as refused:
        await order(stores, event, *lines)
    return refused.value.facts["earliest_release_at"]


async def test_a_refusal_says_when_so_many_holds_have_ended_that_the_order_fits(stores, other_stores):
    event = await make_priced_event(stores, capacity=4)
    adult = ticket_type(event.id, price_minor=100)
    await sell(stores, event, adult)
    first = await order(stores, event, (adult, 1))
    second = await order(stores, event, (adult, 2))

    told = {number: await earliest(other_stores, event, (adult, number)) for number in (2, 3, 4, 5)}

    assert told == {2: first.due_at, 3: second.due_at, 4: second.due_at, 5: None}


async def test_only_holds_of_the_pool_that_is_short_release_its_tickets(stores):
    event = await make_priced_event(stores)
    box = ticket_pool(event.id, "Box")
    boxed, standing = ticket_type(event.id, pools=(box.id,), price_minor=5), ticket_type(event.id, price_minor=5)
    await sell(stores, event, boxed, standing, pools=[(box, 1)])
    await order(stores, event, (standing, 3))
    held = await order(stores, event, (boxed, 1))

    assert await earliest(stores, event, (boxed, 1)) == held.due_at


async def test_tickets_that_are_sold_for_good_are_released_never(stores):
    event = await make_event(stores, capacity=1)
    adult = ticket_type(event.id)
    await sell(stores, event, adult)
    await order(stores, event, (adult, 1))

    assert await earliest(stores, event, (adult, 1)) is None


async def test_the_look_at_holds_is_bounded(stores):
    event = await make_priced_event(stores, capacity=HOLDS_LOOKED_AT + 1, max_holds_per_user=100)
    adult, buyer = ticket_type(event.id, price_minor=5), await make_account(stores)
    await sell(stores, event, adult)
    held = [await order(stores, event, (adult, 1), user_id=buyer) for _ in range(HOLDS_LOOKED_AT + 1)]

    assert await earliest(stores, event, (adult, HOLDS_LOOKED_AT)) == held[-2].due_at
    assert await earliest(stores, event, (adult, HOLDS_LOOKED_AT + 1)) is None


async def test_an_order_by_number_of_a_plain_event_looks_at_no_holds(stores):
    event = await make_event(stores, capacity=1)
    await book(stores, event)

    with pytest.raises(SoldOut) as refused:
        await book(stores, event)

    assert refused.value.facts == {"remaining": 0}
