"""Events over HTTP: making, changing, cancelling, listing."""

from __future__ import annotations

from tests.api.callers import event_draft


async def test_times_are_kept_in_utc(callers):
    organizer = await callers.organizer()

    event = await organizer.make_event(starts_at="2090-06-01T01:30:00+05:30")

    assert event["starts_at"] == "2090-05-31T20:00:00Z"


async def test_an_event_is_made_where_its_location_says(callers, client):
    organizer = await callers.organizer()

    made = await organizer.post("/api/v1/events", event_draft(capacity=7))

    assert made.status_code == 201
    shown = await client.get(made.headers["Location"])
    assert shown.json() == made.json()
    assert made.json() | {"status": "on_sale", "remaining": 7, "booked": 0, "max_per_user": 8} == made.json()


async def test_the_second_of_two_changes_of_one_version_is_refused(callers, client):
    organizer = await callers.organizer()
    event = await organizer.make_event()
    path = f"/api/v1/events/{event['id']}"
    etag = (await client.get(path)).headers["ETag"]

    first = await organizer.patch(path, {"title": "First"}, headers={"If-Match": etag})
    second = await organizer.patch(path, {"title": "Second"}, headers={"If-Match": etag})
    third = await organizer.patch(path, {"title": "Third"}, headers={"If-Match": first.headers["ETag"]})

    assert [first.status_code, second.status_code, third.status_code] == [200, 412, 200]
    assert second.json()["code"] == "version_mismatch"
    assert (await client.get(path)).json()["title"] == "Third"


async def test_a_sale_does_not_make_the_organizers_version_old(callers, client):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    path = f"/api/v1/events/{event['id']}"
    etag = (await client.get(path)).headers["ETag"]
    await buyer.book(event["id"])

    changed = await organizer.patch(path, {"paused": True}, headers={"If-Match": etag})
    seen = await client.get(path, headers={"If-None-Match": etag})

    assert changed.status_code == 200
    assert (seen.status_code, seen.json()["status"], seen.json()["remaining"]) == (200, "paused", 99)


async def test_a_known_event_is_not_sent_again(callers, client):
    event = await (await callers.organizer()).make_event()
    path = f"/api/v1/events/{event['id']}"
    etag = (await client.get(path)).headers["ETag"]

    assert (await client.get(path, headers={"If-None-Match": etag})).status_code == 304


async def test_capacity_does_not_fall_below_what_is_sold(callers):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    await buyer.book(event["id"], quantity=4)

    refused = await organizer.patch(f"/api/v1/events/{event['id']}", {"capacity": 3})

    assert (refused.status_code, refused.json()["code"], refused.json()["sold"]) == (409, "capacity_below_sold", 4)


async def test_a_cancelled_event_leaves_the_list_and_keeps_its_record(callers, client):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    path = f"/api/v1/events/{event['id']}"

    first, again = await organizer.delete(path), await organizer.delete(path)

    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json()["status"] == again.json()["status"] == "cancelled"
    assert (await client.get("/api/v1/events")).json()["items"] == []
    assert (await client.get(path)).json()["status"] == "cancelled"
    assert (await buyer.book(event["id"])).json()["code"] == "not_on_sale"


async def test_only_the_owner_and_admins_change_an_event(callers):
    owner, other, admin = await callers.organizer(), await callers.organizer(), await callers.admin()
    event = await owner.make_event()
    path = f"/api/v1/events/{event['id']}"

    statuses = [(await who.patch(path, {"title": "Changed"})).status_code for who in (other, owner, admin)]

    assert statuses == [403, 200, 200]
    assert (await other.delete(path)).status_code == 403


async def test_events_are_listed_soonest_first_by_cursor_and_by_skip(callers, client):
    organizer = await callers.organizer()
    made = [(await organizer.make_event(starts_at=f"20{60 - n}-01-01T00:00:00Z"))["id"] for n in range(5)]

    seen, cursor = [], ""
    while cursor is not None:
        page = (await client.get(f"/api/v1/events?limit=2{cursor and '&cursor='}{cursor}")).json()
        seen += [event["id"] for event in page["items"]]
        cursor = page["next_cursor"]
    skipped = (await client.get("/api/v1/events?skip=3")).json()

    assert seen == made[::-1]
    assert [event["id"] for event in skipped["items"]] == made[::-1][3:]
    assert (page["total"], skipped["total"]) == (5, 5)
