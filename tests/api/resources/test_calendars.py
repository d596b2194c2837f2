"""The calendar file of a booking, read by a library that is not ours."""

from __future__ import annotations

from datetime import UTC, datetime

import icalendar
import pytest

TITLE = "Ünder, the; \\ stars " + "ß" * 90


async def _entry(caller, booking):
    answer = await caller.get(f"/api/v1/bookings/{booking['id']}/calendar")
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/calendar; charset=utf-8"
    assert all(len(line) <= 75 for line in answer.content.split(b"\r\n"))
    (entry,) = icalendar.Calendar.from_ical(answer.content).walk("VEVENT")
    return entry


@pytest.mark.parametrize("month", [7, 12])
async def test_a_calendar_shows_the_event_at_its_instant_in_summer_and_in_winter(callers, month):
    starts_at = datetime(2099, month, 1, 19, 30, tzinfo=UTC)
    event = await (await callers.organizer()).make_event(
        title=TITLE, location="Riverside 1;\\, Hall B", starts_at=starts_at.isoformat()
    )
    caller = await callers.attendee()
    booking = (await caller.book(event["id"], quantity=2)).json()

    entry = await _entry(caller, booking)

    assert entry["DTSTART"].dt == starts_at
    assert (entry["DTEND"].dt - starts_at).total_seconds() == 2 * 3600
    assert (str(entry["SUMMARY"]), str(entry["LOCATION"])) == (TITLE, "Riverside 1;\\, Hall B")
    assert str(entry["UID"]) == booking["id"]
    assert str(entry["DESCRIPTION"]).startswith("2 tickets.")
    assert entry["DTSTAMP"].dt.tzinfo is not None


async def test_a_later_file_takes_a_cancelled_booking_out_of_the_calendar(callers):
    event = await (await callers.organizer()).make_event()
    caller = await callers.attendee()
    booking = (await caller.book(event["id"])).json()
    before = await _entry(caller, booking)
    await caller.delete(f"/api/v1/bookings/{booking['id']}")

    after = await _entry(caller, booking)

    assert (str(before["STATUS"]), str(after["STATUS"])) == ("TENTATIVE", "CANCELLED")
    assert before["UID"] == after["UID"]
    assert before["SEQUENCE"] < after["SEQUENCE"]


async def test_a_cancelled_event_is_cancelled_in_the_calendar(callers):
    organizer, caller = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    booking = (await caller.book(event["id"])).json()
    await organizer.delete(f"/api/v1/events/{event['id']}")

    assert str((await _entry(caller, booking))["STATUS"]) == "CANCELLED"
