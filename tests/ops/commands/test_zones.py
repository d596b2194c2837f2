"""The command that finds events whose start was computed by other rules of their time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from domain.sales.events import EventChanges
from domain.sales.zones import zone_data_version
from ops.commands import zones
from ops.commands.zones import described, moved_events
from tests.factories import ORGANIZED, make_event

NOW = datetime(2090, 1, 1, tzinfo=UTC)
STARTS_AT = datetime(2090, 7, 1, 18, tzinfo=UTC)
LOCAL = datetime(2090, 7, 1, 20)  # noqa: DTZ001  (a local time)


async def compute_by_other_rules(stores, event, **columns):
    """Have an event with a start as other rules of its zone would have it."""
    sets = ", ".join(f"{name} = :{name}" for name in columns)
    async with stores.database.begin() as connection:
        await connection.execute(text(f"UPDATE events SET {sets} WHERE id = :id"), {"id": event.id, **columns})


@pytest.fixture
async def moved(stores):
    """Among other events, one that was made when clocks in Berlin were to stay at +01:00 in summer."""
    for zone in ("UTC", "Europe/Berlin", "America/New_York"):
        await make_event(stores, starts_at=STARTS_AT, time_zone=zone)
    event = await make_event(stores, title="Summer Gala", starts_at=STARTS_AT, time_zone="Europe/Berlin")
    await compute_by_other_rules(stores, event, starts_at=STARTS_AT + timedelta(hours=1))
    return event


async def test_events_are_listed_whose_local_time_is_at_another_instant_now(stores, moved):
    found, compared = await moved_events(stores, now=NOW)

    assert described(found, compared, "onsale") == (
        f"{moved.id}  Summer Gala: 2090-07-01 20:00 in Europe/Berlin is stored as 2090-07-01 19:00 UTC and is now "
        f"2090-07-01 18:00 UTC\n4 events to come, 1 moved by tzdata {zone_data_version()} in onsale"
    )


async def test_an_event_whose_local_time_does_not_exist_any_more_is_listed(stores):
    event = await make_event(stores, starts_at=STARTS_AT, time_zone="Europe/Berlin")
    skipped = datetime(2090, 3, 26, 2, 30)  # noqa: DTZ001  (a local time)
    await compute_by_other_rules(stores, event, starts_at_local=skipped)

    found, compared = await moved_events(stores, now=NOW)

    assert "is stored as 2090-07-01 18:00 UTC and is now no instant\n1 event to come" in described(found, compared, "x")


@pytest.mark.usefixtures("moved")
async def test_past_events_are_left_alone(stores):
    assert await moved_events(stores, now=STARTS_AT + timedelta(days=1)) == ([], 0)


async def test_every_event_is_compared_however_many_there_are(stores, moved, monkeypatch):
    monkeypatch.setattr(zones, "PAGE_EVENTS", 1)

    found, compared = await moved_events(stores, now=NOW)

    assert ([event.id for event in found], compared) == ([moved.id], 4)


async def test_the_local_time_given_again_moves_the_event(stores, moved):
    changes = EventChanges(starts_at_local=LOCAL)

    after = await stores.event_actions.change(moved.id, changes, caller=ORGANIZED, expected_version=None)

    assert after.starts_at == STARTS_AT
    assert (await moved_events(stores, now=NOW))[0] == []
