"""The dates of one show: events with the same `series_id`."""

from __future__ import annotations

from uuid import uuid4

SHOW = str(uuid4())


async def test_the_dates_of_a_show_are_listed(callers, client):
    organizer = await callers.organizer()
    dates = [await organizer.make_event(series_id=SHOW) for _ in range(2)]
    other = await organizer.make_event(series_id=str(uuid4()))
    single = await organizer.make_event()

    listed = (await client.get(f"/api/v1/events?series_id={SHOW}")).json()
    on_sale = (await client.get(f"/api/v1/events?series_id={SHOW}&status=on_sale")).json()
    unknown = (await client.get(f"/api/v1/events?series_id={uuid4()}")).json()

    assert {event["id"] for event in listed["items"]} == {event["id"] for event in dates}
    assert {event["id"] for event in on_sale["items"]} == {event["id"] for event in dates}
    assert (listed["total"], unknown["total"]) == (2, 0)
    assert (dates[0]["series_id"], single["series_id"]) == (SHOW, None)
    assert other["series_id"] != SHOW


async def test_a_date_joins_and_leaves_a_show(callers, client):
    organizer = await callers.organizer()
    await organizer.make_event(series_id=SHOW)
    event = await organizer.make_event()

    joined = await organizer.patch(f"/api/v1/events/{event['id']}", {"series_id": SHOW})
    total = (await client.get(f"/api/v1/events?series_id={SHOW}")).json()["total"]
    left = await organizer.patch(f"/api/v1/events/{event['id']}", {"series_id": None})

    assert (joined.json()["series_id"], total, left.json()["series_id"]) == (SHOW, 2, None)


async def test_nobody_adds_a_date_to_the_show_of_another_organizer(callers, client):
    owner, other, admin = await callers.organizer(), await callers.organizer(), await callers.admin()
    await owner.make_event(series_id=SHOW)
    foreign, own = await other.make_event(), await owner.make_event()

    made = await other.post(
        "/api/v1/events",
        {"series_id": SHOW, "title": "A", "location": "Berlin", "capacity": 1} | {"starts_at": foreign["starts_at"]},
    )
    changed = [
        await who.patch(f"/api/v1/events/{event['id']}", {"series_id": SHOW})
        for who, event in ((other, foreign), (admin, foreign), (admin, own))
    ]

    error = {"pointer": "/series_id", "message": "belongs to events of another organizer"}
    assert [made.json()["errors"], *(answer.json()["errors"] for answer in changed[:2])] == [[error]] * 3
    assert changed[2].status_code == 200
    assert (await client.get(f"/api/v1/events?series_id={SHOW}")).json()["total"] == 2
