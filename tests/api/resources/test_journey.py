"""From sign-up to a cancelled booking, over HTTP."""

from __future__ import annotations

from tests.waiting import persist_all


async def test_a_booking_is_accepted_confirmed_seen_and_cancelled(callers, client, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)

    accepted = await buyer.book(event["id"], quantity=2, key="one")

    assert accepted.status_code == 202
    assert accepted.json()["status"] == "pending"
    assert accepted.headers["Retry-After"]
    status_path = accepted.headers["Location"]
    assert (await buyer.get(status_path)).json()["status"] == "pending"

    await persist_all(stores)

    confirmed = await buyer.get(status_path)
    assert (confirmed.status_code, confirmed.json()["status"]) == (200, "confirmed")
    assert confirmed.json()["confirmed_at"].endswith("Z")
    mine = (await buyer.get("/api/v1/bookings/my-bookings")).json()["items"]
    assert [booking["id"] for booking in mine] == [accepted.json()["id"]]
    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["remaining"] == 8

    cancelled = await buyer.delete(f"/api/v1/bookings/{accepted.json()['id']}")

    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    shown = (await client.get(f"/api/v1/events/{event['id']}")).json()
    assert (shown["remaining"], shown["booked"]) == (10, 0)


async def test_a_caller_who_would_wait_gets_the_confirmed_booking(callers, worker):  # noqa: ARG001
    event = await (await callers.organizer()).make_event()

    answer = await (await callers.attendee()).book(event["id"], Prefer="wait=10")

    assert answer.status_code == 201
    assert answer.json()["status"] == "confirmed"
    assert answer.headers["Preference-Applied"] == "wait=10"
