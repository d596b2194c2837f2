"""Routes of admins."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain.actions.bookings import BoxOffice
from tests.waiting import persist_all


async def test_lists_count_active_bookings_and_sold_tickets(callers, stores):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    await organizer.make_event()
    kept = (await buyer.book(event["id"], quantity=3)).json()
    dropped = (await buyer.book(event["id"], quantity=2)).json()
    await persist_all(stores)
    await buyer.delete(f"/api/v1/bookings/{dropped['id']}")
    await persist_all(stores)

    attendees = (await admin.get("/api/v1/admin/users/attendees")).json()
    organizers = (await admin.get("/api/v1/admin/users/organizers")).json()
    details = (await admin.get(f"/api/v1/admin/users/details/{buyer.id}")).json()

    assert attendees["total"] == 1
    assert (attendees["items"][0]["booking_count"], attendees["items"][0]["tickets"]) == (1, 3)
    assert (organizers["items"][0]["event_count"], organizers["items"][0]["tickets_sold"]) == (2, 3)
    assert details["counts"] == {
        "booking_count": 1,
        "tickets": 3,
        "event_count": 0,
        "tickets_sold": 0,
        "revenue_minor": {},
    }
    assert {booking["id"] for booking in details["bookings"]} == {kept["id"], dropped["id"]}


@pytest.mark.parametrize("role", ["attendee", "organizer"])
async def test_accounts_are_found_by_their_address_and_those_alone_are_counted(callers, role):
    admin = await callers.admin()
    accounts = [await getattr(callers, role)() for _ in range(3)]
    name = accounts[1].email.partition("@")[0]

    found = [
        (await admin.get(f"/api/v1/admin/users/{role}s", params={"q": search})).json()
        for search in (name.upper(), "%", "example.org")
    ]

    assert [[each["email"] for each in page["items"]] for page in found] == [
        [accounts[1].email],
        [],
        [account.email for account in accounts],
    ]
    assert [page["total"] for page in found] == [1, 0, 3]


async def test_the_totals_count_each_account_event_and_booking_by_what_it_is_now(callers, stores):
    admin, organizer = await callers.admin(), await callers.organizer()
    buyer, leaver = await callers.attendee(), await callers.attendee()
    event, dropped = await organizer.make_event(), await organizer.make_event()
    await buyer.book(event["id"])
    await buyer.book(event["id"])
    await leaver.book(event["id"])
    await persist_all(stores)
    await leaver.call("DELETE", "/api/v1/me", json={"current_password": "a fine long password"})
    await organizer.delete(f"/api/v1/events/{dropped['id']}")
    await persist_all(stores)

    totals = (await admin.get("/api/v1/dashboard")).json()

    assert totals["users"] == {"attendee": 1, "organizer": 1, "admin": 1}
    assert totals["events"] == {"upcoming": 1, "past": 0, "cancelled": 1}
    assert totals["bookings"] == {"held": 0, "confirmed": 2, "cancelled": 1, "expired": 0, "rejected": 0}


async def test_a_ban_pauses_the_organizers_events_and_ends_its_login(callers, client):
    admin, organizer = await callers.admin(), await callers.organizer()
    event = await organizer.make_event()

    banned = await admin.delete(f"/api/v1/admin/users/{organizer.id}")

    assert (banned.status_code, banned.json()) == (200, {"id": organizer.id, "status": "banned"})
    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["status"] == "paused"
    body = {"email": organizer.email, "password": "a fine long password"}
    refused = await client.post("/api/v1/auth/login", json=body)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")

    assert (await admin.post(f"/api/v1/admin/users/{organizer.id}/unban")).json()["status"] == "active"
    assert (await client.post("/api/v1/auth/login", json=body)).status_code == 200


async def test_a_banned_attendee_keeps_its_bookings_and_sees_them_once_it_is_let_in_again(callers, client, stores):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    booking = (await buyer.book(event["id"], quantity=4)).json()
    await persist_all(stores)

    await admin.delete(f"/api/v1/admin/users/{buyer.id}")

    assert (await buyer.book(event["id"])).status_code == 401
    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["remaining"] == 6
    await admin.post(f"/api/v1/admin/users/{buyer.id}/unban")
    again = await callers.log_in(buyer.email)
    assert (await again.get(f"/api/v1/bookings/{booking['id']}/status")).json()["status"] == "confirmed"


async def test_the_last_admin_stays_and_nobody_bans_itself(callers):
    """S26: nor demoted, nor closed."""
    admin = await callers.admin()

    demoted = await admin.patch(f"/api/v1/admin/users/role/{admin.id}", {"role": "attendee"})
    banned = await admin.delete(f"/api/v1/admin/users/{admin.id}")
    left = await admin.call("DELETE", "/api/v1/me", json={"current_password": "a fine long password"})

    assert (demoted.status_code, demoted.json()["code"]) == (409, "last_admin")
    assert (banned.status_code, banned.json()["code"]) == (409, "own_account")
    assert (left.status_code, left.json()["code"]) == (409, "last_admin")


async def test_every_action_leaves_an_audit_entry(callers):
    """S27: in the transaction of the change."""
    admin, organizer = await callers.admin(), await callers.organizer()
    event = await organizer.make_event()
    await admin.patch(f"/api/v1/admin/users/role/{organizer.id}", {"role": "attendee"})
    await admin.delete(f"/api/v1/admin/users/{organizer.id}")
    await admin.post(f"/api/v1/admin/users/{organizer.id}/unban")
    await admin.post(f"/api/v1/admin/events/{event['id']}/reconciliation")

    first = (await admin.get("/api/v1/admin/audit-log?limit=3")).json()
    second = (await admin.get(f"/api/v1/admin/audit-log?limit=3&cursor={first['next_cursor']}")).json()

    entries = first["items"] + second["items"]
    assert [entry["action"] for entry in entries[:4]] == [
        "event.reconciled",
        "account.unbanned",
        "account.banned",
        "account.role_changed",
    ]
    assert {entry["actor_id"] for entry in entries[:4]} == {admin.id}
    assert entries[3]["detail"] == {"from": "organizer", "to": "attendee"}


async def _log(admin):
    entries = (await admin.get("/api/v1/admin/audit-log?limit=100")).json()["items"]
    return [
        (entry["action"], entry["target_id"], entry["detail"]) for entry in entries if entry["actor_id"] == admin.id
    ]


async def test_a_booking_that_its_owner_cancels_first_is_not_in_the_audit_log(callers, monkeypatch):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    booked = (await buyer.book((await organizer.make_event())["id"])).json()
    cancel = BoxOffice.cancel

    async def cancel_after_the_owner(self, booking, **options):
        await cancel(self, booking)
        return await cancel(self, booking, **options)

    monkeypatch.setattr(BoxOffice, "cancel", cancel_after_the_owner)
    answer = await admin.delete(f"/api/v1/bookings/{booked['id']}")

    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (200, "cancelled", None)
    assert booked["id"] not in {target_id for _, target_id, _ in await _log(admin)}


async def test_what_an_admin_does_to_events_is_in_the_audit_log(callers):
    admin, organizer = await callers.admin(), await callers.organizer()
    others, own = await organizer.make_event(), await admin.make_event()
    before = len(await _log(admin))

    await admin.patch(f"/api/v1/events/{others['id']}", {"capacity": 7, "title": "Another name"})
    await admin.patch(f"/api/v1/events/{others['id']}", {"capacity": 7})
    await admin.delete(f"/api/v1/events/{others['id']}")
    await admin.delete(f"/api/v1/events/{others['id']}")
    await organizer.make_event()

    entries = await _log(admin)
    assert ("event.created", own["id"], {}) in entries
    assert entries[:-before] == [
        ("event.cancelled", others["id"], {}),
        ("event.changed", others["id"], {"fields": ["capacity", "title"]}),
    ]


async def test_what_an_admin_was_refused_is_not_in_the_audit_log(callers):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    await buyer.book(event["id"], quantity=5)
    before = await _log(admin)

    refused = await admin.patch(f"/api/v1/events/{event['id']}", {"capacity": 4})

    assert refused.json()["code"] == "capacity_below_sold"
    assert await _log(admin) == before


async def test_a_booking_that_an_admin_cancels_says_so_and_is_in_the_audit_log(callers):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    booking = (await buyer.book(event["id"])).json()
    own = (await admin.book(event["id"])).json()
    before = len(await _log(admin))

    cancelled = (await admin.delete(f"/api/v1/bookings/{booking['id']}")).json()
    await admin.delete(f"/api/v1/bookings/{booking['id']}")
    await admin.delete(f"/api/v1/bookings/{own['id']}")

    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "cancelled_by_admin")
    assert (await _log(admin))[:-before] == [("booking.cancelled", booking["id"], {"user_id": buyer.id})]


@pytest.mark.parametrize("path", ["/api/v1/admin/auth/login", "/api/v1/auth/login"])
async def test_an_admins_login_is_in_the_audit_log(callers, client, path):
    admin, attendee = await callers.admin(), await callers.attendee()
    before = len(await _log(admin))

    await client.post(path, json={"email": admin.email, "password": "a fine long password"})
    await client.post(path, json={"email": admin.email, "password": "not the password"})
    await client.post("/api/v1/auth/login", json={"email": attendee.email, "password": "a fine long password"})

    entries = await _log(admin)
    assert len(entries) == before + 1
    assert entries[0] == ("admin.logged_in", admin.id, {})


async def test_the_books_of_an_event_are_shown_side_by_side(callers, stores):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    await buyer.book(event["id"], quantity=2)
    await persist_all(stores)
    await buyer.book(event["id"], quantity=3)

    books = (await admin.get(f"/api/v1/admin/events/{event['id']}/reconciliation")).json()

    expected = {"capacity": 10, "remaining": 5, "pending": 3, "confirmed": 2, "drift": 0}
    assert {name: books[name] for name in expected} == expected


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_there_are_no_books_of_an_event_that_is_not_there(callers, method):
    admin = await callers.admin()

    answer = await admin.call(method, f"/api/v1/admin/events/{uuid4()}/reconciliation")

    assert (answer.status_code, answer.json()["code"]) == (404, "event_not_found")


async def test_each_role_has_its_dashboard(callers, stores):
    admin, organizer, buyer = await callers.admin(), await callers.organizer(), await callers.attendee()
    event = await organizer.make_event(capacity=10)
    await buyer.book(event["id"], quantity=2)
    await persist_all(stores)
    await buyer.book(event["id"], quantity=3)

    of_buyer = (await buyer.get("/api/v1/dashboard")).json()
    of_organizer = (await organizer.get("/api/v1/dashboard")).json()
    of_admin = (await admin.get("/api/v1/dashboard")).json()

    assert [booking["quantity"] for booking in of_buyer["upcoming"]] == [2, 3]
    assert {status: count for status, count in of_buyer["counts"].items() if count} == {"pending": 1, "confirmed": 1}
    totals = {"events": 1, "sold": 2, "held": 3, "remaining": 5, "revenue_minor": {}, "refused": {}}
    assert of_organizer["totals"] == totals
    assert of_organizer["events"][0]["event"]["id"] == event["id"]
    assert of_admin["users"] == {"attendee": 1, "organizer": 1, "admin": 1}
    assert of_admin["queue"]["depth"] == 1
    assert of_admin["drift"] == 0
