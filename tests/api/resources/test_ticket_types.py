"""The ticket types of an event: made, shown, changed and archived by its organizer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from tests.api.callers import event_draft
from tests.factories import tomorrow
from tests.waiting import persist_all

PRICED = {"currency": "EUR", "payment": "external"}


@pytest.fixture
async def organizer(callers):
    return await callers.organizer()


@pytest.fixture
async def event(organizer):
    """The path of an event that may have prices."""
    return f"/api/v1/events/{(await organizer.make_event(**PRICED))['id']}"


async def make(organizer, event, **fields):
    made = await organizer.post(f"{event}/ticket-types", {"name": "Adult"} | fields)
    assert made.status_code == 201, made.text
    return made.json()


async def make_pool(organizer, event, **fields):
    made = await organizer.post(f"{event}/pools", {"name": "Stalls", "size": 50} | fields)
    assert made.status_code == 201, made.text
    return made.json()


async def names(caller, event, **query):
    return [each["name"] for each in (await caller.get(f"{event}/ticket-types", params=query)).json()["items"]]


def order(event, *lines, **fields):
    items = [{"ticket_type_id": each["id"], "quantity": quantity} for each, quantity in lines]
    return {"event_id": event.rpartition("/")[2], "items": items} | fields


def pointers(answer):
    return [error["pointer"] for error in answer.json()["errors"]]


async def test_an_event_that_says_nothing_of_types_has_one_free_type_with_its_id(client, event):
    (only,) = (await client.get(f"{event}/ticket-types")).json()["items"]

    assert (only["id"], only["name"], only["price_minor"]) == (event.rpartition("/")[2], "General admission", 0)


async def test_the_first_written_type_makes_the_implicit_one_a_type_like_others(organizer, callers, event):
    buyer = await callers.attendee()
    booked = (await buyer.book(event.rpartition("/")[2], quantity=2)).json()

    adult = await make(organizer, event, price_minor=1_500, position=1)
    general = event.rpartition("/")[2]
    refused = await organizer.patch(f"{event}/ticket-types/{general}", {"weight": 2})
    changed = await organizer.patch(f"{event}/ticket-types/{general}", {"name": "Standing"})

    assert await names(buyer, event) == ["Standing", "Adult"]
    assert (refused.status_code, refused.json()["code"]) == (409, "in_use")
    assert (changed.json()["version"], adult["version"]) == (2, 1)
    assert (await buyer.get(f"/api/v1/bookings/{booked['id']}/status")).json()["quantity"] == 2


async def test_an_event_is_made_with_its_types_in_one_request(organizer, callers):
    types = [{"name": "Adult", "price_minor": 2_000}, {"name": "Child", "price_minor": 900}]

    made = await organizer.post("/api/v1/events", event_draft(**PRICED, ticket_types=types))
    unpaid = await organizer.post("/api/v1/events", event_draft(ticket_types=types))
    broken = await organizer.post(
        "/api/v1/events",
        event_draft(**PRICED, ticket_types=[types[0], {"name": "Van", "pools": [str(uuid4())]}]),
    )

    path = f"/api/v1/events/{made.json()['id']}"
    assert await names(organizer, path) == ["Adult", "Child"]
    adult = (await organizer.get(f"{path}/ticket-types")).json()["items"][0]
    held = await (await callers.attendee()).post("/api/v1/bookings", order(path, (adult, 2)))
    assert (held.status_code, held.json()["total_minor"]) == (201, 4_000)
    assert (unpaid.status_code, pointers(unpaid)) == (422, ["/payment", "/currency"])
    assert (broken.status_code, pointers(broken)) == (422, ["/ticket_types/1/pools/0"])


async def test_prices_need_a_currency_and_a_payment_of_the_event(organizer):
    event = f"/api/v1/events/{(await organizer.make_event())['id']}"
    free = await make(organizer, event)

    added = await organizer.post(f"{event}/ticket-types", {"name": "Adult", "price_minor": 1})
    changed = await organizer.patch(f"{event}/ticket-types/{free['id']}", {"price_minor": 1})

    assert [answer.status_code for answer in (added, changed)] == [422, 422]
    assert pointers(added) == pointers(changed) == ["/price_minor"]


async def test_a_type_keeps_the_rules_of_its_fields(organizer, event):
    now = tomorrow()
    broken = {
        "/max_per_booking": {"min_per_booking": 5, "max_per_booking": 4},
        "/max_per_user": {"min_per_booking": 5, "max_per_user": 4},
        "/sales_close_at": {
            "sales_open_at": now.isoformat(),
            "sales_close_at": (now - timedelta(hours=1)).isoformat(),
        },
        "/sales_open_at": {"sales_open_at": "1999-01-01T00:00:00Z"},
        "/pools/0": {"pools": [str(uuid4())]},
        "/requires_type_id": {"requires_type_id": str(uuid4())},
    }

    answers = {
        pointer: await organizer.post(f"{event}/ticket-types", {"name": "Adult"} | fields)
        for pointer, fields in broken.items()
    }

    assert {pointer: pointers(answer) for pointer, answer in answers.items()} == {each: [each] for each in broken}
    assert await names(organizer, event) == ["General admission"]


async def test_no_type_requires_itself_by_way_of_others(organizer, event):
    adult = await make(organizer, event)
    van = await make(organizer, event, name="Van", requires_type_id=adult["id"])

    circle = await organizer.patch(f"{event}/ticket-types/{adult['id']}", {"requires_type_id": van["id"]})
    itself = await organizer.patch(f"{event}/ticket-types/{adult['id']}", {"requires_type_id": adult["id"]})
    required = await organizer.delete(f"{event}/ticket-types/{adult['id']}")

    assert pointers(circle) == pointers(itself) == ["/requires_type_id"]
    assert (required.status_code, required.json()["code"]) == (409, "in_use")


async def test_what_a_type_takes_is_fixed_while_bookings_have_tickets_of_it(organizer, callers, event, stores):
    stalls, balcony = [await make_pool(organizer, event, name=name) for name in ("Stalls", "Balcony")]
    adult, unsold = [await make(organizer, event, pools=[stalls["id"]]) for _ in range(2)]
    buyer = await callers.attendee()
    booked = await buyer.post("/api/v1/bookings", order(event, (adult, 1)))
    changes = [{"pools": [balcony["id"]]}, {"weight": 2}, {"takes_room": False}]
    path = f"{event}/ticket-types/{adult['id']}"

    pending = [await organizer.patch(path, change) for change in changes]
    await persist_all(stores)
    stored = [await organizer.patch(path, change) for change in changes]
    others = [await organizer.patch(path, change) for change in ({"price_minor": 5}, {"pools": [stalls["id"]]})]
    free = await organizer.patch(f"{event}/ticket-types/{unsold['id']}", {"pools": [balcony["id"]], "weight": 3})
    await buyer.delete(f"/api/v1/bookings/{booked.json()['id']}")
    await persist_all(stores)
    after = await organizer.patch(path, changes[0])

    assert {answer.json()["code"] for answer in (*pending, *stored)} == {"in_use"}
    assert [answer.status_code for answer in (*others, free, after)] == [200] * 4


async def test_no_ticket_takes_what_its_type_took_before_a_change(organizer, callers, event, client, other_client):
    """A change that is accepted holds for every booking, also for those that are made at the same moment."""
    buyers = [await callers.attendee() for _ in range(6)]
    for number in range(6):
        stalls = await make_pool(organizer, event, name=f"Stalls {number}")
        adult = await make(organizer, event, pools=[stalls["id"]])
        path, heavier = f"{event}/ticket-types/{adult['id']}", {"weight": 2}

        *booked, changed = await asyncio.gather(
            *(
                buyer.through((client, other_client)[index % 2]).post("/api/v1/bookings", order(event, (adult, 1)))
                for index, buyer in enumerate(buyers)
            ),
            organizer.patch(path, heavier),
        )

        weight = 2 if changed.status_code == 200 else 1
        pools = (await organizer.get(f"{event}/pools")).json()["items"]
        assert {changed.status_code, *(answer.status_code for answer in booked)} <= {200, 202, 409}
        assert pools[-1]["taken"] == weight * [answer.status_code for answer in booked].count(202)


async def test_a_type_with_bookings_is_archived_and_never_deleted(organizer, callers, event, stores):
    """A rival deleted the row, and with it the bookings of those who had paid."""
    adult = await make(organizer, event, price_minor=1_000)
    buyer = await callers.attendee()
    held = (await buyer.post("/api/v1/bookings", order(event, (adult, 2)))).json()
    await persist_all(stores)

    gone = await organizer.delete(f"{event}/ticket-types/{adult['id']}")
    again = await organizer.delete(f"{event}/ticket-types/{adult['id']}")

    assert (gone.status_code, again.status_code) == (204, 404)
    assert await names(organizer, event) == ["General admission"]
    assert (await buyer.post("/api/v1/bookings", order(event, (adult, 1)))).json()["code"] == "ticket_type_not_found"
    assert (await buyer.get(f"/api/v1/bookings/{held['id']}/status")).json() == held
    assert (await stores.box_office.confirm(UUID(held["id"]))).quantity == 2


async def test_a_change_is_refused_if_somebody_else_was_faster(organizer, event):
    adult = await make(organizer, event)
    path = f"{event}/ticket-types/{adult['id']}"

    first = await organizer.patch(path, {"name": "Adults"}, headers={"If-Match": '"v1"'})
    second = await organizer.patch(path, {"name": "Grown-ups"}, headers={"If-Match": '"v1"'})
    same = await organizer.patch(path, {"name": "Adults"}, headers={"If-Match": first.headers["ETag"]})
    gone = await organizer.delete(path, headers={"If-Match": '"v1"'})

    assert (first.headers["ETag"], second.status_code, second.json()["version"]) == ('"v2"', 412, 2)
    assert (same.status_code, same.json()["version"], gone.status_code) == (200, 2, 412)


async def test_prices_of_holds_stay_when_the_price_of_their_type_changes(organizer, callers, event):
    adult = await make(organizer, event, price_minor=1_000)
    buyer = await callers.attendee()
    held = (await buyer.post("/api/v1/bookings", order(event, (adult, 2)))).json()

    await organizer.patch(f"{event}/ticket-types/{adult['id']}", {"price_minor": 1_200})

    assert (await buyer.get(f"/api/v1/bookings/{held['id']}/status")).json()["total_minor"] == 2_000
    dearer = await buyer.post("/api/v1/bookings", order(event, (adult, 1), expect_total_minor=1_000))
    assert (dearer.status_code, dearer.json()["code"], dearer.json()["total_minor"]) == (409, "price_changed", 1_200)


async def test_hidden_types_are_seen_by_their_organizer_admins_and_with_a_code(organizer, callers, client, event):
    await make(organizer, event, name="Members", hidden=True, position=2)
    await organizer.post(f"{event}/promo-codes", {"code": "Club", "unlocks_hidden": True})
    await organizer.post(f"{event}/promo-codes", {"code": "Cheap", "percent_off": 10})
    stranger, admin = await callers.organizer(), await callers.admin()
    every, public = ["General admission", "Members"], ["General admission"]

    assert [await names(each, event) for each in (organizer, admin, stranger)] == [every, every, public]
    assert (await names(client, event, promo_code="cLUB"), await names(client, event, promo_code="cheap")) == (
        every,
        public,
    )
    wrong = await client.get(f"{event}/ticket-types", params={"promo_code": "clubs"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "promo_code_invalid")


async def test_another_process_shows_a_type_as_soon_as_it_is_made(organizer, event, other_client):
    assert await names(other_client, event) == ["General admission"]

    await make(organizer, event, position=1)

    assert await names(other_client, event) == ["General admission", "Adult"]


async def test_what_a_cancelled_event_sells_cannot_be_changed(organizer, event):
    adult = await make(organizer, event)
    pool = await make_pool(organizer, event)
    await organizer.delete(event)

    answers = [
        await organizer.post(f"{event}/ticket-types", {"name": "Child"}),
        await organizer.patch(f"{event}/ticket-types/{adult['id']}", {"name": "Child"}),
        await organizer.delete(f"{event}/pools/{pool['id']}"),
        await organizer.post(f"{event}/promo-codes", {"code": "late"}),
    ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(409, "event_cancelled")}


async def test_changes_by_an_admin_are_in_the_audit_log(callers, event):
    admin = await callers.admin()

    adult = await make(admin, event)
    await admin.patch(f"{event}/ticket-types/{adult['id']}", {"name": "Grown-up"})

    log = (await admin.get("/api/v1/admin/audit-log")).json()["items"]
    found = [(each["action"], each["target_id"]) for each in log if each["action"].startswith("ticket_type.")]
    assert found == [("ticket_type.changed", adult["id"]), ("ticket_type.created", adult["id"])]
