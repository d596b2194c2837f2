"""Times: events that have begun or ended, and deadlines of bookings."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import TIMESTAMP

from tests.waiting import persist_all

HOUR = timedelta(hours=1)

FIELDS = (
    "title",
    "location",
    "description",
    "starts_at",
    "ends_at",
    "capacity",
    "max_per_user",
    "sales_open_at",
    "sales_close_at",
)
"""What an organizer's form sends when it is saved."""


async def move(stores, event, **moments):
    """Have an event with other times, as if it had been made long ago."""
    sets = ", ".join(f"{name} = :{name}" for name in moments)
    typed = [bindparam(name, type_=TIMESTAMP(timezone=True)) for name in moments]
    statement = text(f"UPDATE events SET {sets} WHERE id = :id").bindparams(*typed)
    async with stores.database.begin() as connection:
        await connection.execute(statement, {"id": UUID(event["id"]), **moments})
    await stores.catalog.renew_terms(UUID(event["id"]))


def path_of(event):
    return f"/api/v1/events/{event['id']}"


def ago(hours):
    return datetime.now(UTC) - hours * HOUR


@pytest.mark.parametrize(
    "moments",
    [
        {"starts_at": ago(1)},
        {"starts_at": ago(1), "ends_at": ago(-1), "sales_open_at": ago(9), "sales_close_at": ago(2)},
        {"starts_at": ago(100)},
        # Accepted once, under other rules.
        {"starts_at": datetime(2101, 1, 1, tzinfo=UTC), "ends_at": datetime(2101, 1, 1, tzinfo=UTC)},
        {"starts_at": ago(-9), "sales_open_at": ago(-50), "sales_close_at": ago(-40)},
    ],
)
async def test_an_event_is_saved_with_the_times_that_it_has(callers, stores, moments):
    organizer = await callers.organizer()
    event = await organizer.make_event()
    await move(stores, event, **moments)
    shown = (await organizer.get(path_of(event))).json()

    saved = await organizer.patch(path_of(event), {name: shown[name] for name in FIELDS} | {"title": "Another name"})
    in_turn = [(await organizer.patch(path_of(event), {name: shown[name]})).status_code for name in FIELDS[1:]]

    assert saved.status_code == 200, saved.text
    assert set(in_turn) == {200}
    assert {name: saved.json()[name] for name in FIELDS[1:]} == {name: shown[name] for name in FIELDS[1:]}


async def test_what_is_changed_of_an_event_that_began_is_judged(callers, stores):
    organizer = await callers.organizer()
    event = await organizer.make_event()
    await move(stores, event, starts_at=ago(1))
    changes = {
        "/starts_at": {"starts_at": ago(2).isoformat()},
        "/ends_at": {"ends_at": ago(3).isoformat()},
        "/sales_close_at": {"sales_close_at": ago(-24).isoformat()},
        "/sales_open_at": {"sales_open_at": ago(0).isoformat()},
    }

    refused = {pointer: await organizer.patch(path_of(event), change) for pointer, change in changes.items()}

    assert {pointer: answer.status_code for pointer, answer in refused.items()} == dict.fromkeys(changes, 422)
    assert all(answer.json()["errors"][0]["pointer"] == pointer for pointer, answer in refused.items())


@pytest.mark.parametrize("name", ["starts_at", "ends_at", "sales_open_at", "sales_close_at"])
@pytest.mark.parametrize("moment", ["2100-12-31T23:59:59-23:59", "2101-01-01T00:00:00Z", "2000-01-01T00:00:00+00:01"])
async def test_a_time_is_judged_by_its_instant(callers, name, moment):
    organizer = await callers.organizer()
    event = await organizer.make_event()
    draft = {"title": "A name", "location": "A place", "starts_at": "2099-01-01T00:00:00Z", "capacity": 1}

    made = await organizer.post("/api/v1/events", draft | {name: moment})
    changed = await organizer.patch(path_of(event), {name: moment})

    for refused in (made, changed):
        assert refused.status_code == 422
        assert [error["pointer"] for error in refused.json()["errors"]] == [f"/{name}"]


async def test_the_last_second_of_2100_is_accepted_however_it_is_written(callers):
    organizer = await callers.organizer()

    event = await organizer.make_event(starts_at="2101-01-01T12:59:59+13:00")

    assert event["starts_at"] == "2100-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("moments", "listed"),
    [
        ({"starts_at": ago(0)}, True),
        ({"starts_at": ago(22)}, True),
        ({"starts_at": ago(26)}, False),
        ({"starts_at": ago(1), "ends_at": ago(0.1)}, False),
        ({"starts_at": ago(90), "ends_at": ago(-12)}, True),
    ],
)
async def test_an_event_is_listed_and_can_be_cancelled_until_it_is_over(callers, client, stores, moments, listed):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    booking = (await buyer.book(event["id"])).json()
    await persist_all(stores)
    await move(stores, event, **moments)

    page = (await client.get("/api/v1/events")).json()
    cancelled = await organizer.delete(path_of(event))

    assert ([each["id"] for each in page["items"]], page["total"]) == ([event["id"]] * listed, int(listed))
    if listed:
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
    else:
        assert (cancelled.status_code, cancelled.json()["code"]) == (409, "event_over")
        assert (await client.get(path_of(event))).json()["status"] == "closed"
        assert (await buyer.get(f"/api/v1/bookings/{booking['id']}/status")).json()["status"] == "confirmed"


async def test_own_events_are_listed_whatever_their_status(callers, client, stores):
    organizer, other = await callers.organizer(), await callers.organizer()
    cancelled, paused, running, over = [await organizer.make_event() for _ in range(4)]
    await other.make_event()
    await move(stores, running, starts_at=ago(1))
    await move(stores, over, starts_at=ago(30))
    await organizer.patch(path_of(paused), {"paused": True})
    await organizer.delete(path_of(cancelled))

    own = (await organizer.get("/api/v1/events?mine=true")).json()
    every = (await organizer.get("/api/v1/events?mine=true&upcoming_only=false&limit=2")).json()
    nobody = await client.get("/api/v1/events?mine=true")

    assert own["items"][0]["id"] == running["id"]
    assert {event["id"] for event in own["items"]} == {cancelled["id"], paused["id"], running["id"]}
    assert (own["total"], every["total"], len(every["items"])) == (3, 4, 2)
    assert [event["id"] for event in every["items"]] == [over["id"], running["id"]]
    assert (nobody.status_code, nobody.json()["code"]) == (401, "unauthenticated")


async def test_a_cancelled_event_is_shown_and_takes_nothing_any_more(callers, client, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    await organizer.delete(path_of(event))

    shown, booked = await client.get(path_of(event)), await buyer.book(event["id"])
    changes = [await organizer.patch(path_of(event), change) for change in ({"title": "Anew"}, {"paused": False}, {})]
    # Again is the same answer, also once it would be over.
    await move(stores, event, starts_at=ago(100))
    again = await organizer.delete(path_of(event))

    assert (shown.status_code, shown.json()["status"]) == (200, "cancelled")
    assert (booked.status_code, booked.json()["code"]) == (409, "not_on_sale")
    assert {(answer.status_code, answer.json()["code"]) for answer in changes} == {(409, "event_cancelled")}
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


async def test_tickets_are_sold_and_given_back_after_the_beginning_while_sales_are_open(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    await move(stores, event, starts_at=ago(1), ends_at=ago(-2), sales_close_at=ago(-1))

    booking = await buyer.book(event["id"])
    cancelled = await buyer.delete(f"/api/v1/bookings/{booking.json()['id']}")

    assert (booking.status_code, cancelled.status_code) == (202, 200)
    assert cancelled.json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("moments", "owner", "organizer"),
    [
        # Sales are closed, it has not begun.
        ({"starts_at": ago(-1), "sales_close_at": ago(1)}, 200, 200),
        ({"starts_at": ago(2), "ends_at": ago(-2), "sales_close_at": ago(1)}, 409, 200),
        ({"starts_at": ago(1)}, 409, 200),
        ({"starts_at": ago(2), "ends_at": ago(1)}, 409, 409),
        ({"starts_at": ago(25)}, 409, 409),
    ],
)
async def test_a_booking_is_cancelled_by_its_owner_and_the_organizer_until_their_deadlines(
    callers, stores, moments, owner, organizer
):
    seller, buyer, admin = await callers.organizer(), await callers.attendee(), await callers.admin()
    event = await seller.make_event()
    bookings = [(await buyer.book(event["id"])).json()["id"] for _ in range(3)]
    await persist_all(stores)
    await move(stores, event, **moments)

    answers = [
        await who.delete(f"/api/v1/bookings/{booking}")
        for who, booking in zip((buyer, seller, admin), bookings, strict=True)
    ]

    assert [answer.status_code for answer in answers] == [owner, organizer, organizer]
    assert {answer.json()["code"] for answer in answers if answer.status_code == 409} <= {"event_started"}
    if organizer == 200:
        assert [answer.json()["reason"] for answer in answers[1:]] == ["cancelled_by_organizer", "cancelled_by_admin"]


async def test_a_title_may_be_one_character(callers):
    organizer = await callers.organizer()

    event = await organizer.make_event(title="R")

    assert (event["title"], (await organizer.patch(path_of(event), {"title": " "})).status_code) == ("R", 422)
