"""Dashboards filter, sort and sum all rows before they take a page of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.background.persisting import expire
from domain.kernel.partitions import partition_of_event
from domain.store.postgres.reports.dashboards import Dashboards
from tests.api.resources.test_times import ago, move
from tests.factories import as_organizer, book, hold, make_due, new_event
from tests.selling import order, sell, ticket_type
from tests.waiting import persist_all

ROWS = 101

NO_BOOKINGS = {"held": 0, "pending": 0, "confirmed": 0, "cancelled": 0, "expired": 0, "rejected": 0}


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
    assert shown["counts"] == NO_BOOKINGS | {"confirmed": 1, "cancelled": ROWS - 1}
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
    assert counts | {"pending": 0} == NO_BOOKINGS | {"confirmed": 1}


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
    totals = {"events": ROWS, "sold": 3, "held": 2, "remaining": 5 + ROWS - 1, "revenue_minor": {}, "refused": {}}
    assert shown["totals"] == totals
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


@pytest.mark.parametrize("persisted", [False, True])
async def test_holds_stand_apart_on_every_dashboard(callers, stores, persisted):
    """A fresh hold ended the request, and a persisted one was missing for its buyer and sold for its organizer."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await made(stores, organizer, capacity=20, currency="EUR", payment="external")
    adult, family = (
        ticket_type(event.id, price_minor=1_500),
        ticket_type(event.id, "Family", price_minor=4_000, weight=4),
    )
    await sell(stores, event, adult, family)
    mine = UUID(buyer.id)
    held = await order(stores, event, (adult, 2), user_id=mine)
    due = await order(stores, event, (adult, 3), user_id=mine)
    paid = await order(stores, event, (adult, 1), (family, 1), user_id=mine)
    await stores.box_office.confirm(paid.id)
    await make_due(stores, due)
    if persisted:
        await persist_all(stores)
        await expire_in_rows(stores, due)

    of_buyer = (await buyer.get("/api/v1/dashboard")).json()

    kept = "confirmed" if persisted else "pending"
    shown = {booking["id"]: booking["status"] for booking in of_buyer["upcoming"]}
    assert shown == {str(held.id): "held", str(paid.id): kept}
    assert of_buyer["counts"] == NO_BOOKINGS | {"held": 1, "expired": 1, kept: 1}
    if persisted:
        await expire(stores, partition_of_event(event.id))
        await persist_all(stores)
        (sale,) = (shown := (await organizer.get("/api/v1/dashboard")).json())["events"]
        assert (sale["sold"], sale["held"], sale["remaining"], sale["revenue_minor"]) == (2, 2, 13, 5_500)
        assert (
            shown["totals"] | {"sold": 2, "held": 2, "remaining": 13, "revenue_minor": {"EUR": 5_500}}
            == shown["totals"]
        )


async def test_revenue_is_summed_by_currency_and_without_holds(callers, stores):
    organizer, admin = await callers.organizer(), await callers.admin()
    await organizer.make_event()
    for currency, price_minor in (("EUR", 1_500), ("EUR", 2_000), ("JPY", 900)):
        event = await made(stores, organizer, currency=currency, payment="external")
        adult = ticket_type(event.id, price_minor=price_minor)
        await sell(stores, event, adult)
        for _ in range(2):
            await stores.box_office.confirm((await order(stores, event, (adult, 1))).id)
        await order(stores, event, (adult, 1))
    await persist_all(stores)

    totals = (await organizer.get("/api/v1/dashboard")).json()["totals"]
    counts = (await admin.get(f"/api/v1/admin/users/details/{organizer.id}")).json()["counts"]
    (row,) = (await admin.get("/api/v1/admin/users/organizers")).json()["items"]
    all_bookings = (await admin.get("/api/v1/dashboard")).json()["bookings"]

    revenue = {"EUR": 7_000, "JPY": 1_800}
    assert (totals["sold"], totals["held"], totals["revenue_minor"]) == (6, 3, revenue)
    assert (counts["tickets_sold"], counts["revenue_minor"], row["tickets_sold"]) == (6, revenue, 6)
    assert all_bookings == {name: 0 for name in NO_BOOKINGS if name != "pending"} | {"held": 3, "confirmed": 6}


async def test_a_hold_of_an_event_without_types_is_not_sold(callers, stores):
    organizer = await callers.organizer()
    event = await made(stores, organizer, capacity=10)
    await book(stores, event, quantity=3)
    await hold(stores, event, quantity=2)
    await persist_all(stores)

    (sale,) = (await organizer.get("/api/v1/dashboard")).json()["events"]

    assert (sale["sold"], sale["held"], sale["remaining"], sale["revenue_minor"]) == (3, 2, 5, 0)


async def expire_in_rows(stores, due):
    """Move the deadline of a persisted hold into the past in its row, which a sweep has not reached yet."""
    async with stores.database.begin() as connection:
        await connection.execute(
            text("UPDATE bookings SET due_at = now() - interval '1 second' WHERE id = :id"), {"id": due.id}
        )
