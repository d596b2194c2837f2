"""What is left of the ticket types of an event, over HTTP."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from domain.platform.settings import Limit
from tests.api.callers import process_of
from tests.api.conftest import serving
from tests.factories import book
from tests.selling import make_priced_event, order, promo_code, sell, ticket_pool, ticket_type

NOW = datetime.now(UTC)


def _path(event):
    return f"/api/v1/events/{event.id}/availability"


async def _items(client, event, query=""):
    answer = await client.get(_path(event) + query)
    assert answer.status_code == 200, answer.text
    return {item["name"]: item for item in answer.json()["items"]}


async def _left(client, event, query=""):
    return {name: (item["status"], item["remaining"]) for name, item in (await _items(client, event, query)).items()}


async def test_what_is_left_is_what_the_scarcest_pool_allows_in_units_of_the_weight(client, clean):
    event = await make_priced_event(clean, capacity=20)
    hall = ticket_pool(event.id, "Hall")
    front = ticket_pool(event.id, "Front", parent_id=hall.id)
    types = [
        ticket_type(event.id, "Family", weight=4, pools=(hall.id,), price_minor=5_000, position=0),
        ticket_type(event.id, "Front", pools=(front.id,), price_minor=2_500, position=1),
        ticket_type(event.id, "Shirt", takes_room=False, position=2),
    ]
    await sell(clean, event, *types, pools=((hall, 11), (front, 3)))
    await order(clean, event, (types[1], 2))

    answer = await client.get(_path(event))

    body = answer.json()
    assert (body["status"], body["currency"], body["currency_decimals"]) == ("on_sale", "EUR", 2)
    assert [(item["name"], item["status"], item["remaining"], item["price_minor"]) for item in body["items"]] == [
        ("Family", "on_sale", 2, 5_000),
        ("Front", "on_sale", 1, 2_500),
        ("Shirt", "on_sale", None, 0),
    ]


async def test_an_event_without_types_has_general_admission(client, clean):
    event = await make_priced_event(clean, capacity=7)
    await book(clean, event, quantity=2)

    (item,) = (await client.get(_path(event))).json()["items"]

    assert (item["ticket_type_id"], item["name"], item["remaining"]) == (str(event.id), "General admission", 5)


async def test_each_type_says_why_it_cannot_be_bought(client, clean):
    event = await make_priced_event(clean, capacity=3)
    await sell(
        clean,
        event,
        ticket_type(event.id, "Early", sales_close_at=NOW - timedelta(hours=1)),
        ticket_type(event.id, "Door", sales_open_at=NOW + timedelta(hours=1)),
        ticket_type(event.id, "Group", min_per_booking=4),
        ticket_type(event.id, "Adult"),
    )

    assert await _left(client, event) == {
        "Early": ("over", 3),
        "Door": ("not_yet", 3),
        "Group": ("sold_out", 3),
        "Adult": ("on_sale", 3),
    }


async def test_a_change_of_the_event_is_seen_at_once(other_client, clean, callers):
    organizer = await callers.organizer()
    event = await clean.event_actions.find(UUID((await organizer.make_event(capacity=5))["id"]))
    assert await _left(other_client, event) == {"General admission": ("on_sale", 5)}

    await organizer.patch(f"/api/v1/events/{event.id}", {"capacity": 9, "paused": True})

    assert await _left(other_client, event) == {"General admission": ("paused", 9)}
    await organizer.delete(f"/api/v1/events/{event.id}")
    assert (await _left(other_client, event))["General admission"][0] == "over"
    assert (await other_client.get(_path(event))).json()["status"] == "cancelled"


async def test_a_type_that_was_added_is_seen_at_once(client, clean):
    event = await make_priced_event(clean, capacity=5)
    await _left(client, event)
    pool = ticket_pool(event.id)

    await sell(clean, event, ticket_type(event.id, "Stalls", pools=(pool.id,)), pools=((pool, 4),))

    assert await _left(client, event) == {"Stalls": ("on_sale", 4)}


async def test_what_is_left_is_not_sent_again_until_it_changes(client, clean):
    event = await make_priced_event(clean)
    etag = (await client.get(_path(event))).headers["ETag"]

    same = await client.get(_path(event), headers={"If-None-Match": etag})
    await book(clean, event)
    changed = await client.get(_path(event), headers={"If-None-Match": etag})

    assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
    assert (changed.status_code, changed.json()["items"][0]["remaining"]) == (200, 99)


async def test_a_hold_is_not_left_until_it_ends(client, clean):
    event = await make_priced_event(clean, capacity=5)
    adult = ticket_type(event.id, price_minor=100)
    await sell(clean, event, adult)
    held = await order(clean, event, (adult, 2))

    during = await _left(client, event)
    await clean.box_office.cancel(held)

    assert during == {"Adult": ("on_sale", 3)}
    assert await _left(client, event) == {"Adult": ("on_sale", 5)}


async def test_hidden_types_are_shown_to_whoever_may_sell_them_and_with_a_code(client, clean, callers):
    owner, other, admin = await callers.organizer(), await callers.organizer(), await callers.admin()
    event = await clean.event_actions.find(UUID((await owner.make_event())["id"]))
    member, press = ticket_type(event.id, "Member", hidden=True), ticket_type(event.id, "Press", hidden=True)
    codes = [
        promo_code(event.id, "MEMBER", unlocks_hidden=True, ticket_type_ids=(member.id,)),
        promo_code(event.id, "CHEAP", percent_off=10),
        promo_code(event.id, "OLD", unlocks_hidden=True, valid_until=NOW - timedelta(hours=1)),
    ]
    await sell(clean, event, ticket_type(event.id, "Adult"), member, press, codes=codes)

    seen = {
        "anybody": await _items(client, event),
        "other": await _items(other, event),
        "member": await _items(client, event, "?promo_code=member"),
        "cheap": await _items(client, event, "?promo_code=CHEAP"),
        "owner": await _items(owner, event),
        "admin": await _items(admin, event),
    }

    assert {who: sorted(items) for who, items in seen.items()} == {
        "anybody": ["Adult"],
        "other": ["Adult"],
        "member": ["Adult", "Member"],
        "cheap": ["Adult"],
        "owner": ["Adult", "Member", "Press"],
        "admin": ["Adult", "Member", "Press"],
    }
    for wrong in ("NOBODYS", "OLD"):
        refused = await client.get(f"{_path(event)}?promo_code={wrong}")
        assert (refused.status_code, refused.json()["code"]) == (409, "promo_code_invalid")


async def test_codes_are_not_tried_without_end(clean, settings):
    event = await make_priced_event(clean)
    adult = ticket_type(event.id)
    await sell(clean, event, adult, codes=[promo_code(event.id, "RIGHT")])
    async with serving(settings.model_copy(update={"limit_promo_code": Limit.parse("2/min")})) as client:
        codes = ("WRONG", "RIGHT", "FALSE", "OTHER", "RIGHT")
        answers = [(await client.get(_path(event), params={"promo_code": code})).status_code for code in codes]
        without = await client.get(_path(event))

    assert answers == [409, 200, 409, 429, 429]
    assert without.status_code == 200


@contextmanager
def _counted(client):
    """The commands that a process sends to Redis, and how often it reads PostgreSQL."""
    stores, sent = process_of(client).stores, []
    pipeline, begun = stores.pipeline, stores.database.connect
    call = pipeline.call_on

    async def noted(link, *command):
        sent.append(command[0])
        return await call(link, *command)

    def connected():
        sent.append("PostgreSQL")
        return begun()

    pipeline.call_on, stores.database.connect = noted, connected
    try:
        yield sent
    finally:
        del pipeline.call_on, stores.database.connect


@pytest.mark.parametrize("types", [1, 60])
async def test_any_number_of_types_is_one_reading_of_redis_and_none_of_postgresql(client, clean, types):
    event = await make_priced_event(clean, capacity=500)
    pools = [ticket_pool(event.id, f"Pool {number}") for number in range(min(types, 50))]
    sold = [ticket_type(event.id, f"Type {number}", pools=(pools[number % len(pools)].id,)) for number in range(types)]
    await sell(clean, event, *sold, pools=[(pool, 10) for pool in pools])
    await _left(client, event)

    with _counted(client) as sent:
        left = await process_of(client).offers.of(event.id)

    assert sorted(sent) == ["HMGET", "TIME"]
    assert len(left.offer.types) == types
