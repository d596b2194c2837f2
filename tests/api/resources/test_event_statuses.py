"""`GET /events?status=`: events by the status of their sale, page by page."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from api.reads.events import ListAsked, Showing
from domain.kernel.event_status import EventStatus
from domain.store.redis.inventory import Inventory

EVENTS = "/api/v1/events"


async def listed(caller, **query):
    """The ids of every page of a list, the list walked to where its cursor is null."""
    pages, cursor = [], None
    while not pages or cursor:
        answer = await caller.get(EVENTS, params=query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert shown.keys() == {"items", "next_cursor"}
        pages.append([event["id"] for event in shown["items"]])
        cursor = shown["next_cursor"]
    return pages


@pytest.fixture
async def standing(callers):
    """An organizer, and an event of each status by its status."""
    organizer, buyer = await callers.organizer(), await callers.attendee()
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = {
        EventStatus.SCHEDULED: await organizer.make_event(sales_open_at=soon),
        EventStatus.ON_SALE: await organizer.make_event(sales_open_at="2020-01-01T00:00:00Z"),
        EventStatus.PAUSED: await organizer.make_event(sales_open_at=soon),
        EventStatus.SOLD_OUT: await organizer.make_event(capacity=1),
        EventStatus.CLOSED: await organizer.make_event(sales_close_at="2020-01-02T00:00:00Z"),
        EventStatus.CANCELLED: await organizer.make_event(),
    }
    ids = {status: event["id"] for status, event in made.items()}
    assert (await organizer.patch(f"{EVENTS}/{ids[EventStatus.PAUSED]}", {"paused": True})).status_code == 200
    assert (await buyer.book(ids[EventStatus.SOLD_OUT])).status_code == 202
    assert (await organizer.delete(f"{EVENTS}/{ids[EventStatus.CANCELLED]}")).status_code == 200
    return organizer, ids


@pytest.mark.parametrize("status", EventStatus)
async def test_a_list_has_the_events_of_the_status_asked_for(standing, status):
    organizer, ids = standing

    own = await listed(organizer, status=status, mine="true")
    shown = await organizer.get(EVENTS, params={"status": status})

    assert own == [[ids[status]]]
    if status is EventStatus.CANCELLED:
        assert (shown.status_code, [each["pointer"] for each in shown.json()["errors"]]) == (422, ["/status"])
    else:
        assert [(each["id"], each["status"]) for each in shown.json()["items"]] == [(ids[status], status)]


async def test_the_status_is_that_of_the_moment(callers, client, standing):
    organizer, ids = standing
    buyer = await callers.attendee()
    booking = (await client.get(EVENTS, params={"status": "sold_out"})).json()["items"]
    last = await buyer.book(ids[EventStatus.ON_SALE], quantity=8)
    await organizer.patch(f"{EVENTS}/{ids[EventStatus.PAUSED]}", {"paused": False})

    assert (len(booking), last.status_code) == (1, 202)
    assert await listed(client, status="paused") == [[]]
    assert {*(await listed(client, status="scheduled"))[0]} == {ids[EventStatus.SCHEDULED], ids[EventStatus.PAUSED]}


@pytest.fixture
def scanned(monkeypatch):
    """How many events each reading of the inventory asked about; batches of three events, two a request."""
    monkeypatch.setattr("api.reads.events.SCAN_BATCH_MAX", 3)
    monkeypatch.setattr("api.reads.events.SCAN_BATCHES_MAX", 2)
    found, taken_tickets = [], Inventory.taken_tickets

    async def noting(self, event_ids):
        found.append(len(event_ids))
        return await taken_tickets(self, event_ids)

    monkeypatch.setattr(Inventory, "taken_tickets", noting)
    return found


@pytest.fixture
async def in_a_row(callers):
    """A function that makes events one after the other; those sold out are marked with an `x`."""

    async def make(marks):
        organizer, buyer = await callers.organizer(), await callers.attendee()
        made = [
            (await organizer.make_event(starts_at=f"2090-01-{day:02}T00:00:00Z", capacity=1))["id"]
            for day in range(1, len(marks) + 1)
        ]
        sold = [event for event, mark in zip(made, marks, strict=True) if mark == "x"]
        await asyncio.gather(*(buyer.book(event) for event in sold))
        return sold

    return make


@pytest.mark.parametrize(
    ("marks", "lengths"),
    [
        ("", [0]),
        ("......", [0]),
        (".......", [0, 0]),
        ("x", [1]),
        ("xx", [2]),
        ("xxx", [2, 1]),
        ("......x", [0, 1]),
        ("..x........x.x", [1, 1, 1]),
        ("xx............", [2, 0, 0]),
        ("xxxxx", [2, 2, 1]),
    ],
)
async def test_a_request_looks_at_so_many_events_and_its_cursor_leads_on(client, in_a_row, scanned, marks, lengths):
    sold = await in_a_row(marks)
    scanned.clear()

    pages = await listed(client, status="sold_out", limit=2)

    assert [event for page in pages for event in page] == sold
    assert [len(page) for page in pages] == lengths
    assert max(scanned, default=0) <= 3
    assert len(scanned) <= 2 * len(pages)


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 4])
async def test_events_are_skipped_over_pages_that_end_before(client, in_a_row, scanned, skip):
    sold = await in_a_row("..x......x....x")
    first = (await client.get(EVENTS, params={"status": "sold_out", "skip": skip})).json()
    seen, cursor = first["items"], first["next_cursor"]
    while cursor:
        page = (await client.get(EVENTS, params={"status": "sold_out", "cursor": cursor})).json()
        seen, cursor = seen + page["items"], page["next_cursor"]

    assert [event["id"] for event in seen] == sold[skip:]
    assert scanned


async def test_a_status_narrows_a_search_and_what_is_not_over(callers, client, stores):
    organizer = await callers.organizer()
    past, other, _ = [await organizer.make_event(title=title) for title in ("Gala Night", "Gala Day", "Opera")]
    async with stores.database.begin() as connection:
        await connection.execute(
            text("UPDATE events SET starts_at = now() - interval '2 days' WHERE id = :id"), {"id": UUID(past["id"])}
        )

    assert await listed(client, status="on_sale", q="gala") == [[other["id"]]]
    assert await listed(client, status="closed", q="gala") == [[]]
    assert await listed(client, status="closed", q="gala", upcoming_only="false") == [[past["id"]]]


async def test_a_cursor_is_of_the_list_with_or_without_a_status(callers, client):
    organizer = await callers.organizer()
    for _ in range(2):
        await organizer.make_event()
    plain = (await client.get(EVENTS, params={"limit": 1})).json()["next_cursor"]
    narrowed = (await client.get(EVENTS, params={"limit": 1, "status": "on_sale"})).json()["next_cursor"]

    answers = [
        (await client.get(EVENTS, params=query)).status_code
        for query in ({"cursor": narrowed}, {"status": "on_sale", "cursor": plain})
    ]

    assert answers == [422, 422]


async def test_who_asks_for_the_same_status_at_the_same_time_shares_a_reading(callers, stores, scanned):
    organizer = await callers.organizer()
    await organizer.make_event()
    scanned.clear()
    showing = Showing(stores.event_actions, stores.events)
    asked = ListAsked(
        limit=20, skip=0, after=None, upcoming_only=True, search=None, organizer_id=None, status=EventStatus.ON_SALE
    )

    pages = await asyncio.gather(*(showing.page(asked) for _ in range(20)))

    assert len(set(pages)) == 1
    assert len(scanned) == 1
