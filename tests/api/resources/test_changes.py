"""Bookings that give back some of their tickets, over HTTP."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text

from tests.books import counters, pool, retire, row, taken
from tests.factories import begin, make_due
from tests.selling import promo_code, sell, ticket_type
from tests.waiting import persist_all

API = "/api/v1/bookings"


def _kept(*items):
    return {"items": [{"ticket_type_id": str(type_id), "quantity": quantity} for type_id, quantity in items]}


async def _booked(callers, stores, *, quantity=4, **fields):
    """An event, one of its buyers, and the buyer's booking of general admission."""
    made = await (await callers.organizer()).make_event(**fields)
    buyer = await callers.attendee()
    booking = (await buyer.book(made["id"], quantity=quantity, key="order-7")).json()
    return await stores.event_actions.find(UUID(made["id"])), buyer, booking


async def test_a_booking_gives_back_some_of_its_tickets(callers, stores):
    event, buyer, booking = await _booked(callers, stores)
    await persist_all(stores)

    reduced = await buyer.patch(f"{API}/{booking['id']}", _kept((event.id, 1)))
    again = await buyer.patch(f"{API}/{booking['id']}", _kept((event.id, 1)))
    polled = await buyer.get(f"{API}/{booking['id']}/status")

    assert (reduced.status_code, reduced.json()["quantity"], reduced.json()["status"]) == (200, 1, "confirmed")
    assert again.json() == polled.json() == reduced.json()
    assert reduced.headers["ETag"] == again.headers["ETag"] == polled.headers["ETag"]
    assert await taken(stores, event) == 1
    await persist_all(stores)
    assert await pool(stores, event) == (100, 1)
    retried = await buyer.book(str(event.id), quantity=4, key="order-7")
    assert (retried.status_code, retried.json()["id"], retried.json()["quantity"]) == (200, booking["id"], 1)


async def test_the_tickets_that_remain_cost_what_they_cost_when_they_were_booked(callers, stores):
    organizer = await callers.organizer()
    made = await organizer.make_event(currency="EUR", payment="external")
    event = await stores.event_actions.find(UUID(made["id"]))
    adult, child = ticket_type(event.id, price_minor=1_001), ticket_type(event.id, "Child", price_minor=500)
    code = promo_code(event.id, percent_off=10, ticket_type_ids=(adult.id,), max_uses=1)
    await sell(stores, event, adult, child, codes=[code])
    buyer, other = await callers.attendee(), await callers.attendee()
    order = {"event_id": str(event.id), "promo_code": "EARLY"} | _kept((adult.id, 3), (child.id, 2))
    held = (await buyer.post(API, order)).json()
    await _change_price(stores, adult.id)
    refused = await other.post(API, order)

    fewer = (await buyer.patch(f"{API}/{held['id']}", _kept((adult.id, 2), (child.id, 2)))).json()
    without = (await buyer.patch(f"{API}/{held['id']}", _kept((child.id, 1), (adult.id, 0)))).json()

    # 3003 less 10 % is 2703: 901 each.
    assert (held["total_minor"], held["items"][0]["sum_minor"]) == (3_703, 2_703)
    assert (fewer["total_minor"], fewer["items"][0]["sum_minor"]) == (2_802, 1_802)
    assert (fewer["items"][0]["unit_price_minor"], fewer["items"][0]["discount_minor"]) == (1_001, 200)
    assert (without["total_minor"], without["promo_code"], len(without["items"])) == (500, None, 1)
    assert (without["status"], without["expires_at"]) == ("held", held["expires_at"])
    assert refused.json()["code"] == "promo_code_used_up"
    assert (await other.post(API, order)).status_code == 201
    await persist_all(stores)
    stored = await row(stores, await stores.box_office.booking(UUID(held["id"])))
    assert (stored["amount_minor"], stored["quantity"], stored["body"]["reduced_by"]) == (500, 1, "owner")


async def _change_price(stores, type_id):
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE ticket_types SET price_minor = 9000 WHERE id = :id"), {"id": type_id})


async def test_a_type_that_is_not_sold_any_more_is_given_back_whole(callers, stores):
    event, buyer, _ = await _booked(callers, stores)
    adult, child = ticket_type(event.id, weight=2), ticket_type(event.id, "Child")
    await sell(stores, event, adult, child)
    order = {"event_id": str(event.id)} | _kept((adult.id, 2), (child.id, 1))
    made = await buyer.post(API, order)
    await persist_all(stores)
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE ticket_types SET archived_at = now() WHERE id = :id"), {"id": adult.id})
    await stores.catalog.renew_terms(event.id)

    reduced = await buyer.patch(f"{API}/{made.json()['id']}", _kept((child.id, 1)))

    assert reduced.status_code == 200
    assert await taken(stores, event) == 4 + 1


async def test_a_record_that_has_retired_is_reduced_as_well(callers, stores):
    event, buyer, booking = await _booked(callers, stores)
    await persist_all(stores)
    await retire(stores, await stores.box_office.booking(UUID(booking["id"])))

    reduced = await buyer.patch(f"{API}/{booking['id']}", _kept((event.id, 3)))

    assert reduced.json()["quantity"] == 3
    assert await taken(stores, event) == 3


@pytest.mark.parametrize(
    ("items", "pointer"),
    [
        ([], "/items"),
        ([{"ticket_type_id": "{event}", "quantity": 0}], "/items"),
        ([{"ticket_type_id": "{event}", "quantity": -1}], "/items/0/quantity"),
        ([{"ticket_type_id": "{event}"}], "/items/0"),
        ([{"ticket_type_id": "{event}", "quantity": 1}] * 2, "/items/1/ticket_type_id"),
        ([{"ticket_type_id": "{event}", "quantity": 1, "price": 0}], "/items/0"),
    ],
)
async def test_a_body_that_breaks_a_rule_changes_nothing(callers, stores, items, pointer):
    event, buyer, booking = await _booked(callers, stores)
    items = [item | {"ticket_type_id": item["ticket_type_id"].format(event=event.id)} for item in items]

    refused = await buyer.patch(f"{API}/{booking['id']}", {"items": items})

    assert refused.status_code == 422
    assert pointer in {error["pointer"] for error in refused.json()["errors"]}
    assert await taken(stores, event) == 4


async def test_a_booking_is_never_changed_to_more(callers, stores):
    event, buyer, booking = await _booked(callers, stores)
    other = ticket_type(event.id)

    more = await buyer.patch(f"{API}/{booking['id']}", _kept((event.id, 5)))
    another = await buyer.patch(f"{API}/{booking['id']}", _kept((event.id, 1), (other.id, 1)))

    assert [answer.json()["code"] for answer in (more, another)] == ["more_than_booked"] * 2
    assert [answer.json()["quantity"] for answer in (more, another)] == [4, 0]
    assert await taken(stores, event) == 4


async def test_what_holds_nothing_any_more_gives_nothing_back(callers, stores):
    event, buyer, booking = await _booked(callers, stores)
    held = (await buyer.post(API, {"event_id": str(event.id), "hold": True} | _kept((event.id, 2)))).json()
    await buyer.delete(f"{API}/{booking['id']}")
    await make_due(stores, await stores.box_office.booking(UUID(held["id"])))

    answers = [await buyer.patch(f"{API}/{each['id']}", _kept((event.id, 1))) for each in (booking, held)]
    await buyer.delete(f"{API}/{held['id']}")
    answers.append(await buyer.patch(f"{API}/{held['id']}", _kept((event.id, 1))))

    assert [answer.status_code for answer in answers] == [409, 409, 409]
    assert [answer.json()["code"] for answer in answers] == ["booking_over", "hold_expired", "hold_expired"]
    assert await counters(stores, event) == {}


async def test_an_owner_reduces_until_the_event_begins_and_an_admin_until_it_is_over(callers, stores):
    event, buyer, booking = await _booked(callers, stores)
    await persist_all(stores)
    await begin(stores, event.id)
    admin = await callers.admin()

    late = await buyer.patch(f"{API}/{booking['id']}", _kept((event.id, 2)))
    reduced = await admin.patch(f"{API}/{booking['id']}", _kept((event.id, 2)))
    await admin.patch(f"{API}/{booking['id']}", _kept((event.id, 2)))

    assert (late.status_code, late.json()["code"]) == (409, "event_started")
    assert (reduced.status_code, reduced.json()["quantity"]) == (200, 2)
    noted = [
        each for each in (await admin.get("/api/v1/admin/audit-log")).json()["items"] if "reduced" in each["action"]
    ]
    assert [(each["target_id"], each["detail"]["quantity"]) for each in noted] == [(booking["id"], 2)]
