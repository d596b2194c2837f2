"""A closed event over HTTP is served from PostgreSQL as before, and never with 503."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.background.closing import close_past_events_once
from tests.factories import pass_by
from tests.waiting import persist_all

NEW_THINGS = {
    "ticket-types": {"name": "Adult"},
    "pools": {"name": "Stalls", "size": 5},
    "promo-codes": {"code": "late"},
}


async def closed_event(callers, stores):
    """A closed event of ten tickets, three of them sold; its organizer, its buyer, and the booking."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    booking = (await buyer.book(event["id"], quantity=3, key="order")).json()
    await persist_all(stores)
    await pass_by(stores, await stores.events.find(UUID(event["id"])))
    assert (await close_past_events_once(stores)).closed == 1
    return event, organizer, buyer, booking


async def test_a_closed_event_is_shown_wherever_it_was(callers, client, stores):
    event, organizer, buyer, booking = await closed_event(callers, stores)
    admin = await callers.admin()
    path = f"/api/v1/events/{event['id']}"

    one = (await client.get(path)).json()
    page = (await client.get("/api/v1/events", params={"upcoming_only": "false"})).json()
    mine = (await organizer.get("/api/v1/events", params={"mine": "true", "upcoming_only": "false"})).json()
    dashboards = [await caller.get("/api/v1/dashboard") for caller in (organizer, buyer, admin)]
    left = (await client.get(f"{path}/availability")).json()
    books = (await admin.get(f"/api/v1/admin/events/{event['id']}/reconciliation")).json()
    mended = await admin.post(f"/api/v1/admin/events/{event['id']}/reconciliation")
    guests = (await organizer.get(f"/api/v1/bookings/{event['id']}")).json()

    for shown in (one, page["items"][0], mine["items"][0]):
        assert (shown["id"], shown["status"], shown["remaining"], shown["booked"]) == (event["id"], "closed", 7, 3)
    assert (left["status"], [(each["status"], each["remaining"]) for each in left["items"]]) == (
        "closed",
        [("over", 7)],
    )
    assert [dashboard.status_code for dashboard in dashboards] == [200, 200, 200]
    assert (books["remaining"], books["drift"], mended.status_code) == (7, 0, 200)
    assert [guest["booking_id"] for guest in guests["items"]] == [booking["id"]]


async def test_a_closed_event_takes_no_bookings_and_no_cancellations(callers, stores):
    event, organizer, buyer, booking = await closed_event(callers, stores)

    refused = await buyer.book(event["id"])
    replayed = await buyer.book(event["id"], quantity=3, key="order")
    kept = await buyer.delete(f"/api/v1/bookings/{booking['id']}")
    over = await organizer.delete(f"/api/v1/events/{event['id']}")

    assert (refused.status_code, refused.json()["code"]) == (409, "not_on_sale")
    assert (replayed.status_code, replayed.headers["Idempotent-Replayed"]) == (200, "true")
    assert (replayed.json()["id"], replayed.json()["status"]) == (booking["id"], "confirmed")
    assert (kept.status_code, kept.json()["code"]) == (409, "event_started")
    assert (over.status_code, over.json()["code"]) == (409, "event_over")


async def test_what_a_closed_event_sold_is_shown_and_cannot_be_changed(callers, client, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    path = f"/api/v1/events/{event['id']}"
    pool = (await organizer.post(f"{path}/pools", {"name": "Box", "size": 9})).json()["id"]
    box = (await organizer.post(f"{path}/ticket-types", {"name": "Box", "pools": [pool]})).json()["id"]
    await organizer.post(f"{path}/promo-codes", {"code": "early"})
    order = {"event_id": event["id"], "items": [{"ticket_type_id": box, "quantity": 2}], "promo_code": "early"}
    await buyer.post("/api/v1/bookings", order)
    await persist_all(stores)
    await pass_by(stores, await stores.events.find(UUID(event["id"])))

    over = [await organizer.post(f"{path}/{kind}", body) for kind, body in NEW_THINGS.items()]
    assert (await close_past_events_once(stores)).closed == 1
    closed = [await organizer.post(f"{path}/{kind}", body) for kind, body in NEW_THINGS.items()]
    closed += [await organizer.delete(f"{path}/pools/{pool}")]

    assert {(answer.status_code, answer.json()["code"]) for answer in (*over, *closed)} == {(409, "event_over")}
    assert [each["name"] for each in (await client.get(f"{path}/ticket-types")).json()["items"]][-1] == "Box"
    assert (await organizer.get(f"{path}/pools")).json()["items"][0]["taken"] == 2
    assert (await organizer.get(f"{path}/promo-codes")).json()["items"][0]["used"] == 1


async def test_a_closed_event_that_is_moved_into_the_future_sells_what_is_left(callers, stores):
    event, organizer, buyer, _ = await closed_event(callers, stores)
    starts_at = datetime.now(UTC) + timedelta(days=9)

    moved = await organizer.patch(f"/api/v1/events/{event['id']}", {"starts_at": starts_at.isoformat()})
    five = await buyer.book(event["id"], quantity=5)
    two = await (await callers.attendee()).book(event["id"], quantity=2)
    none = await (await callers.attendee()).book(event["id"])

    assert (moved.status_code, moved.json()["status"], moved.json()["remaining"]) == (200, "on_sale", 7)
    assert (five.status_code, two.status_code) == (202, 202)
    assert (none.status_code, none.json()["code"]) == (409, "sold_out")
    await persist_all(stores)
