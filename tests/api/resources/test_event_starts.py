"""The start of an event over HTTP: its time zone, its local time, and changes of clocks."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text

from domain.kernel.times import to_ms
from domain.sales.events import Deadline
from tests.api.callers import event_draft

BERLIN = "Europe/Berlin"

# In Berlin, clocks are set back on 29 October 2090 at 03:00, and forward on 26 March 2090 at 02:00.
BEFORE, AFTER = "2090-10-29T01:30:00", "2090-10-29T03:30:00"


def path_of(event):
    return f"/api/v1/events/{event['id']}"


def drafted(**fields):
    """A draft without a start."""
    draft = event_draft(**fields)
    return draft if "starts_at" in fields else {name: value for name, value in draft.items() if name != "starts_at"}


def start_of(event):
    return {name: event[name] for name in ("time_zone", "starts_at", "starts_at_local")}


async def make(caller, **fields):
    made = await caller.post("/api/v1/events", drafted(**fields))
    assert made.status_code == 201, made.text
    return made.json()


@pytest.mark.parametrize(
    "given",
    [
        {"starts_at_local": "2090-07-01T20:00"},
        {"starts_at_local": "2090-07-01T20:00:00"},
        {"starts_at": "2090-07-01T20:00:00+02:00"},
        {"starts_at": "2090-07-01T18:00:00Z"},
        {"starts_at": "2090-07-01T18:00:00Z", "starts_at_local": "2090-07-01T20:00:00"},
    ],
)
async def test_an_event_shows_its_local_time_and_its_instant(callers, client, given):
    event = await make(await callers.organizer(), time_zone=BERLIN, **given)

    expected = {"time_zone": BERLIN, "starts_at": "2090-07-01T18:00:00Z", "starts_at_local": "2090-07-01T20:00:00"}
    assert start_of(event) == start_of((await client.get(path_of(event))).json()) == expected


async def test_an_event_without_a_zone_takes_every_offset_and_is_shown_in_utc(callers):
    event = await make(await callers.organizer(), starts_at="2090-06-01T01:30:00+05:30")

    expected = {"time_zone": "UTC", "starts_at": "2090-05-31T20:00:00Z", "starts_at_local": "2090-05-31T20:00:00"}
    assert start_of(event) == expected


@pytest.mark.parametrize(
    ("given", "pointer", "message"),
    [
        ({}, "/starts_at", "is required, unless there is starts_at_local"),
        (
            {"starts_at_local": "2090-03-26T02:30:00"},
            "/starts_at_local",
            "does not exist in Europe/Berlin: the clocks skip this time when they are set forward",
        ),
        (
            {"starts_at": "2090-07-01T20:00:00+01:00"},
            "/starts_at",
            "has the offset +01:00, but clocks in Europe/Berlin are at +02:00 then",
        ),
        (
            {"starts_at": "2090-07-01T20:00:00+02:00", "starts_at_local": "2090-07-01T18:00:00"},
            "/starts_at_local",
            "is not the local time of starts_at in Europe/Berlin; give one of them",
        ),
        ({"starts_at_local": "2090-02-30T20:00:00"}, "/starts_at_local", "is not a date and time of the calendar"),
        (
            {"starts_at_local": "2090-07-01T20:00:00Z"},
            "/starts_at_local",
            "must have the form of `2099-06-01T19:00:00`",
        ),
        ({"starts_at_local": "2090-07-01"}, "/starts_at_local", "must have the form of `2099-06-01T19:00:00`"),
        ({"starts_at_local": "1990-07-01T20:00"}, "/starts_at_local", "must be in 2000 to 2100"),
        ({"starts_at_local": "2020-07-01T20:00"}, "/starts_at", "must be in the future"),
        (
            {"starts_at_local": "2090-07-01T20:00", "time_zone": "CET"},
            "/time_zone",
            "must be UTC or a zone of the IANA database that is named after a place, such as Europe/Berlin",
        ),
    ],
)
async def test_a_start_that_cannot_be_is_refused_alike_when_it_is_made_and_changed(callers, given, pointer, message):
    organizer = await callers.organizer()
    event = await make(organizer, time_zone=BERLIN, starts_at_local="2090-07-02T20:00:00")

    made = await organizer.post("/api/v1/events", drafted(time_zone=BERLIN) | given)
    answers = [made, await organizer.patch(path_of(event), given)] if given else [made]

    for answer in answers:
        assert answer.status_code == 422
        assert answer.json()["errors"] == [{"pointer": pointer, "message": message}]


async def test_the_offset_chooses_between_two_equal_local_times(callers):
    organizer = await callers.organizer()
    starts = [
        {"starts_at_local": "2090-10-29T02:30:00"},
        {"starts_at": "2090-10-29T02:30:00+02:00"},
        {"starts_at": "2090-10-29T02:30:00+01:00"},
    ]

    made = [await make(organizer, time_zone=BERLIN, **start) for start in starts]

    assert [event["starts_at"] for event in made] == [
        "2090-10-29T00:30:00Z",
        "2090-10-29T00:30:00Z",
        "2090-10-29T01:30:00Z",
    ]
    assert {event["starts_at_local"] for event in made} == {"2090-10-29T02:30:00"}
    unchanged = await organizer.patch(path_of(made[2]), start_of(made[2]) | {"title": "A night of three hours"})
    assert start_of(unchanged.json()) == start_of(made[2])


async def test_sales_follow_the_instants_when_clocks_change_between_their_beginning_and_their_end(callers, stores):
    """The event begins an hour before clocks are set back, and sales go on until its end, three hours later."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    made = await make(
        organizer,
        time_zone=BERLIN,
        starts_at_local=BEFORE,
        ends_at=f"{AFTER}+01:00",
        sales_open_at="2026-01-01T10:00:00+01:00",
        sales_close_at=f"{AFTER}+01:00",
    )

    event = await stores.event_actions.find(UUID(made["id"]))
    booked = await buyer.book(made["id"])
    too_late = await organizer.patch(path_of(made), {"sales_close_at": "2090-10-29T03:30:01+01:00"})

    assert made["starts_at"] == "2090-10-28T23:30:00Z"
    assert event.terms.window_ms[1] - event.terms.starts_ms == 3 * 3_600_000
    assert event.terms.deadline_ms(Deadline.OVER) == event.terms.window_ms[1] == to_ms(event.ends_at)
    assert booked.status_code == 202
    assert (too_late.status_code, too_late.json()["errors"][0]["pointer"]) == (422, "/sales_close_at")


async def test_another_zone_keeps_the_instant_and_another_local_time_moves_it(callers):
    organizer = await callers.organizer()
    event = await make(organizer, starts_at="2090-07-01T18:00:00Z")

    placed = (await organizer.patch(path_of(event), {"time_zone": BERLIN})).json()
    moved = (await organizer.patch(path_of(event), {"starts_at_local": "2090-12-01T20:00"})).json()
    both = (await organizer.patch(path_of(event), {"time_zone": "Asia/Tokyo", "starts_at_local": AFTER})).json()

    assert start_of(placed) == {
        "time_zone": BERLIN,
        "starts_at": "2090-07-01T18:00:00Z",
        "starts_at_local": "2090-07-01T20:00:00",
    }
    assert (moved["starts_at"], both["starts_at"]) == ("2090-12-01T19:00:00Z", "2090-10-28T18:30:00Z")
    assert (moved["version"], both["version"]) == (3, 4)


async def test_a_start_that_is_sent_back_changes_nothing(callers):
    organizer = await callers.organizer()
    event = await make(organizer, time_zone=BERLIN, starts_at_local=BEFORE)

    for change in (start_of(event), {"starts_at_local": BEFORE}, {"time_zone": BERLIN}):
        assert (await organizer.patch(path_of(event), change)).json()["version"] == 1


async def test_an_event_from_before_there_were_zones_is_shown_in_utc(callers, client, stores):
    organizer = await callers.organizer()
    event = await make(organizer, starts_at="2090-07-01T18:00:00Z")
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE events SET starts_at_local = NULL"))

    shown = (await client.get(path_of(event))).json()
    saved = await organizer.patch(path_of(event), start_of(shown))

    assert shown["starts_at_local"] == "2090-07-01T18:00:00"
    assert (saved.status_code, saved.json()["version"]) == (200, 1)
