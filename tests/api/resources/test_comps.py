"""Comps: free tickets that organizers give to guests, over HTTP."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.kernel.counters import POOL_MAIN, pool_counter
from tests.books import counters, pool, taken
from tests.selling import sell, ticket_pool, ticket_type
from tests.waiting import persist_all

API = "/api/v1"
GUEST = "grace@example.org"


def _comp(type_id, quantity=1, *, email=GUEST, **fields):
    return {"email": email, "items": [{"ticket_type_id": str(type_id), "quantity": quantity}]} | fields


async def _sale(callers, stores, **fields):
    organizer = await callers.organizer()
    made = await organizer.make_event(**fields)
    return organizer, await stores.event_actions.find(UUID(made["id"]))


async def test_a_guest_gets_free_tickets_in_the_organizers_name(callers, stores):
    organizer, event = await _sale(callers, stores)

    given = await organizer.post(f"{API}/events/{event.id}/comps", _comp(event.id, 2, name="Grace Hopper"))

    booking = given.json()
    assert given.status_code == 202
    assert booking | {"user_id": organizer.id, "quantity": 2, "total_minor": 0} == booking
    assert (booking["guest_email"], booking["guest_name"]) == (GUEST, "Grace Hopper")
    assert given.headers["Location"] == f"{API}/bookings/{booking['id']}/status"
    assert (await organizer.get(given.headers["Location"])).json() == booking
    await persist_all(stores)
    (guest,) = (await organizer.get(f"{API}/bookings/{event.id}")).json()["items"]
    assert (guest["booking_id"], guest["email"], guest["name"]) == (booking["id"], GUEST, "Grace Hopper")
    assert await pool(stores, event) == (100, 2)


async def test_a_guest_list_shows_and_finds_guests_and_buyers(callers, stores):
    organizer, event = await _sale(callers, stores)
    buyer = await callers.attendee()
    await buyer.book(str(event.id))
    comp = _comp(event.id, name='=Grace "Amazing"')
    assert (await organizer.post(f"{API}/events/{event.id}/comps", comp)).status_code == 202
    await persist_all(stores)

    path = f"{API}/bookings/{event.id}"
    listed = (await organizer.get(path)).json()["items"]
    found = [(await organizer.get(path, params={"q": word})).json()["items"] for word in ("grace", organizer.email)]
    file = (await organizer.get(path, headers={"Accept": "text/csv"})).text

    assert {(guest["email"], guest["name"]) for guest in listed} == {(buyer.email, None), (GUEST, comp["name"])}
    assert [[guest["email"] for guest in each] for each in found] == [[GUEST], []]
    assert [row["name"] for row in csv.DictReader(io.StringIO(file))] == ["", '\'=Grace "Amazing"']


async def test_a_comp_takes_its_pools_and_nothing_of_the_organizers_allowance(callers, stores):
    organizer, event = await _sale(callers, stores, max_per_user=1)
    stalls = ticket_pool(event.id)
    adult = ticket_type(event.id, pools=(stalls.id,), weight=2, price_minor=900, hidden=True, min_per_booking=4)
    await sell(stores, event, adult, pools=[(stalls, 7)])
    path = f"{API}/events/{event.id}/comps"

    given = [await organizer.post(path, _comp(adult.id, quantity)) for quantity in (2, 1)]
    short = await organizer.post(path, _comp(adult.id))
    unknown = await organizer.post(path, _comp(event.id))

    assert [answer.status_code for answer in given] == [202, 202]
    assert {given[0].json()[name] for name in ("total_minor",)} == {0}
    assert await counters(stores, event) == {POOL_MAIN: 6, pool_counter(stalls.id): 6}
    assert (short.json()["code"], short.json()["ticket_type_id"]) == ("sold_out", str(adult.id))
    assert unknown.json()["code"] == "ticket_type_not_found"


async def test_keys_of_comps_are_apart_from_the_organizers_own_and_from_an_admins(callers, stores):
    organizer, event = await _sale(callers, stores)
    admin, key = await callers.admin(), {"Idempotency-Key": "order-7"}
    path = f"{API}/events/{event.id}/comps"

    first = await organizer.post(path, _comp(event.id), headers=key)
    by_admin = await admin.post(path, _comp(event.id), headers=key)
    own = await admin.book(str(event.id), key="order-7")
    again = await organizer.post(path, _comp(event.id), headers=key)
    other = await organizer.post(path, _comp(event.id, email="ada@example.org"), headers=key)
    await persist_all(stores)
    final = await organizer.post(path, _comp(event.id), headers=key)

    assert [answer.status_code for answer in (first, by_admin, own, again, final)] == [202, 202, 202, 202, 200]
    assert len({answer.json()["id"] for answer in (first, by_admin, own)}) == 3
    assert {answer.json()["id"] for answer in (again, final)} == {first.json()["id"]}
    assert "Idempotent-Replayed" in again.headers
    assert other.json()["code"] == "idempotency_key_reused"
    assert await taken(stores, event) == 3


async def test_an_admins_comp_is_the_organizers_and_is_noted(callers, stores):
    organizer, event = await _sale(callers, stores)
    admin = await callers.admin()

    given = await admin.post(f"{API}/events/{event.id}/comps", _comp(event.id, 3))
    own = await organizer.post(f"{API}/events/{event.id}/comps", _comp(event.id))

    assert given.json()["user_id"] == own.json()["user_id"] == organizer.id
    log = (await admin.get(f"{API}/admin/audit-log")).json()["items"]
    noted = [(each["target_id"], each["detail"]) for each in log if each["action"] == "comp.created"]
    assert noted == [(given.json()["id"], {"event_id": str(event.id), "quantity": 3})]


async def test_the_answer_is_the_same_whether_an_account_has_the_address(callers, stores):
    organizer, event = await _sale(callers, stores)
    known = await callers.attendee()

    answers = [
        await organizer.post(f"{API}/events/{event.id}/comps", _comp(event.id, email=email))
        for email in (known.email, GUEST)
    ]

    told = [answer.json() | dict.fromkeys(("id", "created_at", "guest_email")) for answer in answers]
    assert told[0] == told[1]
    assert (await known.get(f"{API}/bookings/my-bookings")).json()["items"] == []


async def test_comps_are_given_before_sales_open_and_not_while_they_are_paused(callers, stores):
    opens = (datetime.now(UTC) + timedelta(days=3)).isoformat()
    organizer, event = await _sale(callers, stores, sales_open_at=opens)
    path = f"{API}/events/{event.id}/comps"

    early = await organizer.post(path, _comp(event.id))
    await organizer.patch(f"{API}/events/{event.id}", {"paused": True})
    paused = await organizer.post(path, _comp(event.id))

    assert early.status_code == 202
    assert (paused.status_code, paused.json()["code"]) == (409, "not_on_sale")


async def test_a_comp_is_reduced_and_taken_back(callers, stores):
    organizer, event = await _sale(callers, stores)
    given = (await organizer.post(f"{API}/events/{event.id}/comps", _comp(event.id, 3))).json()

    kept = {"items": [{"ticket_type_id": str(event.id), "quantity": 1}]}
    reduced = (await organizer.patch(f"{API}/bookings/{given['id']}", kept)).json()

    assert (reduced["quantity"], reduced["guest_email"]) == (1, GUEST)
    assert await taken(stores, event) == 1
    await organizer.delete(f"{API}/bookings/{given['id']}")
    assert await taken(stores, event) == 0


async def test_a_comp_needs_an_address_and_says_nothing_else(callers, stores):
    organizer, event = await _sale(callers, stores)
    path = f"{API}/events/{event.id}/comps"
    bodies = [
        _comp(event.id, email="nobody"),
        _comp(event.id, quantity=0),
        _comp(event.id) | {"items": []},
        _comp(event.id, name="\n"),
        _comp(event.id, hold=True),
    ]

    answers = [await organizer.post(path, body) for body in bodies]

    assert {answer.status_code for answer in answers} == {422}
    assert await taken(stores, event) == 0
