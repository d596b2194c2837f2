"""Dashboards filter, sort and sum all rows before they take a page of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from domain.background.persisting import expire
from domain.kernel.partitions import partition_of_event
from domain.store.postgres.reports.dashboards import Dashboards
from tests.api.resources.test_times import ago, move
from tests.factories import as_organizer, book, hold, make_due, new_event
from tests.waiting import persist_all

ROWS = 101


async def made(stores, organizer, **fields):
    return await stores.event_actions.create(new_event(**fields), caller=as_organizer(UUID(organizer.id)))


async def test_the_booking_to_come_is_seen_behind_a_hundred_that_were_cancelled(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await made(stores, organizer, capacity=1_000)
    coming = await book(stores, event, user_id=UUID(buyer.id))
    for _ in range(ROWS - 1):
        await stores.box_office.cancel(await book(stores, event, user_id=UUID(buyer.id)))
    await persist_all(stores)

    shown = (await buyer.get("/api/v1/dashboard")).json()

    assert [booking["id"] for booking in shown["upcoming"]] == [str(coming.id)]
    assert shown["counts"] == {"pending": 0, "confirmed": 1, "cancelled": ROWS - 1, "rejected": 0}
    assert shown["next_cursor"] is None


async def test_a_hold_is_seen_and_counted_until_its_deadline(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await made(stores, organizer, capacity=10)
    held = await hold(stores, event, user_id=UUID(buyer.id))

    fresh = (await buyer.get("/api/v1/dashboard")).json()
    await persist_all(stores)
    stored = (await buyer.get("/api/v1/dashboard")).json()
    await make_due(stores, held)
    await expire(stores, partition_of_event(event.id))
    unswept = (await buyer.get("/api/v1/dashboard")).json()

    assert [[each["status"] for each in shown["upcoming"]] for shown in (fresh, stored, unswept)] == [
        ["held"],
        ["held"],
        [],
    ]
    assert [shown["counts"]["held"] for shown in (fresh, stored)] == [1, 1]
    assert (unswept["counts"]["expired"], unswept["counts"].get("held", 0)) == (1, 0)


async def test_every_role_sees_its_own_bookings(callers, stores):
    organizer, admin = await callers.organizer(), await callers.admin()
    event = await made(stores, organizer, capacity=10)
    bookings = [await book(stores, event, user_id=UUID(caller.id)) for caller in (organizer, admin)]

    shown = [(await caller.get("/api/v1/dashboard?view=attendee")).json() for caller in (organizer, admin)]

    assert [each["upcoming"][0]["id"] for each in shown] == [str(booking.id) for booking in bookings]
    assert "totals" in (await organizer.get("/api/v1/dashboard?view=role")).json()
    assert "queue" in (await admin.get("/api/v1/dashboard")).json()


async def test_a_booking_that_is_persisted_while_a_dashboard_is_made_counts_as_it_is_shown(callers, stores):
    """Counted between two reads of PostgreSQL, it was shown in one state and counted in another."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await made(stores, organizer, capacity=10)
    kept = [await book(stores, event, user_id=UUID(buyer.id)) for _ in range(2)]
    await persist_all(stores)
    await stores.box_office.cancel(kept[0])
    shown = await stores.unpersisted.of_account(UUID(buyer.id))
    await persist_all(stores)

    counts = await Dashboards(stores.database).booking_statuses(
        UUID(buyer.id), without=[booking.id for booking in shown]
    )

    assert [booking.status for booking in shown] == ["cancelled"]
    assert counts == {"confirmed": 1, "cancelled": 0, "rejected": 0}


async def test_tomorrows_event_is_seen_and_summed_among_a_hundred_others(callers, stores):
    organizer = await callers.organizer()
    in_a_year = datetime.now(UTC) + timedelta(days=365)
    tomorrow = await made(stores, organizer, capacity=10)
    for _ in range(ROWS - 1):
        await made(stores, organizer, starts_at=in_a_year, capacity=1)
    await book(stores, tomorrow, quantity=3)
    await persist_all(stores)
    await book(stores, tomorrow, quantity=2)

    shown = (await organizer.get("/api/v1/dashboard")).json()
    part = (await organizer.get("/api/v1/dashboard?limit=1")).json()

    assert shown["events"][0]["event"]["id"] == str(tomorrow.id)
    assert (len(shown["events"]), len(part["events"])) == (ROWS - 1, 1)
    assert shown["totals"] == {"events": ROWS, "sold": 3, "held": 2, "remaining": 5 + ROWS - 1, "refused": {}}
    assert part["totals"] == shown["totals"]


async def test_nothing_remains_of_a_cancelled_event(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    kept, cancelled = [await organizer.make_event(capacity=10) for _ in range(2)]
    await buyer.book(cancelled["id"], quantity=2)
    await organizer.delete(f"/api/v1/events/{cancelled['id']}")

    shown = (await organizer.get("/api/v1/dashboard")).json()

    assert {each["event"]["id"]: each["remaining"] for each in shown["events"]} == {kept["id"]: 10, cancelled["id"]: 0}
    assert shown["totals"]["remaining"] == 10
    await persist_all(stores)


async def test_an_event_stays_on_the_dashboards_until_it_is_over(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    running, over, coming = [await organizer.make_event() for _ in range(3)]
    bookings = [(await buyer.book(event["id"])).json()["id"] for event in (running, over, coming)]
    await persist_all(stores)
    await move(stores, running, starts_at=ago(1))
    await move(stores, over, starts_at=ago(25))

    of_buyer, of_organizer = (
        (await buyer.get("/api/v1/dashboard")).json(),
        (await organizer.get("/api/v1/dashboard")).json(),
    )

    assert [booking["id"] for booking in of_buyer["upcoming"]] == [bookings[0], bookings[2]]
    assert [each["event"]["id"] for each in of_organizer["events"]] == [running["id"], coming["id"], over["id"]]
    assert of_organizer["totals"]["sold"] == 3
