"""Ownership: every role on every route with an id, with its own id, another's and a missing one."""

from __future__ import annotations

import pytest

from tests.api.access.test_roles import MAY, NOBODYS_ID

NAMES = ("event", "booking", "user", "type", "pool", "code")

NOBODY = {"anonymous": (401, 401, 401), "banned": (401, 401, 401)}
A_ORGANIZERS = {
    **NOBODY,
    "attendee": (403, 403, 403),
    "organizer": (200, 403, 404),
    "admin": (200, 200, 404),
}
A_NEW_THING = A_ORGANIZERS | {"organizer": (201, 403, 404), "admin": (201, 201, 404)}
AN_ENDING = A_ORGANIZERS | {"organizer": (204, 403, 404), "admin": (404, 404, 404)}
"""What an admin is asked to end was ended by its organizer before."""

AN_ADMINS = {**NOBODY, "attendee": (403, 403, 403), "organizer": (403, 403, 403), "admin": (200, 200, 404)}

EXPECTED = {
    "GET /api/v1/events/{event_id}": dict.fromkeys(
        ("anonymous", "banned", "attendee", "organizer", "admin"), (200, 200, 404)
    ),
    "GET /api/v1/events/{event_id}/availability": dict.fromkeys(
        ("anonymous", "banned", "attendee", "organizer", "admin"), (200, 200, 404)
    ),
    "GET /events/{event_id}": dict.fromkeys(("anonymous", "banned", "attendee", "organizer", "admin"), (200, 200, 404)),
    # The page has nothing of the booking; its script asks the API.
    "GET /bookings/{booking_id}": dict.fromkeys(
        ("anonymous", "banned", "attendee", "organizer", "admin"), (200, 200, 200)
    ),
    "GET /api/v1/events/{event_id}/ticket-types": dict.fromkeys(
        ("anonymous", "banned", "attendee", "organizer", "admin"), (200, 200, 404)
    ),
    "POST /api/v1/events/{event_id}/ticket-types": A_NEW_THING,
    "PATCH /api/v1/events/{event_id}/ticket-types/{type_id}": A_ORGANIZERS,
    "GET /api/v1/events/{event_id}/pools": A_ORGANIZERS,
    "POST /api/v1/events/{event_id}/pools": A_NEW_THING,
    "PATCH /api/v1/events/{event_id}/pools/{pool_id}": A_ORGANIZERS,
    "GET /api/v1/events/{event_id}/promo-codes": A_ORGANIZERS,
    "POST /api/v1/events/{event_id}/promo-codes": A_NEW_THING,
    "PATCH /api/v1/events/{event_id}/promo-codes/{code_id}": A_ORGANIZERS,
    "PATCH /api/v1/events/{event_id}": A_ORGANIZERS,
    "POST /api/v1/events/{event_id}/comps": {
        **NOBODY,
        "attendee": (403, 403, 403),
        "organizer": (202, 403, 404),
        "admin": (202, 202, 404),
    },
    "GET /api/v1/bookings/{event_id}": A_ORGANIZERS,
    "GET /api/v1/bookings/{booking_id}/status": {
        **NOBODY,
        "attendee": (200, 404, 404),
        "organizer": (200, 404, 404),
        "admin": (200, 200, 404),
    },
    "GET /api/v1/bookings/{booking_id}/calendar": {
        **NOBODY,
        "attendee": (200, 404, 404),
        "organizer": (200, 404, 404),
        "admin": (200, 200, 404),
    },
    "POST /api/v1/bookings/{booking_id}/extend": {
        **NOBODY,
        "attendee": (200, 404, 404),
        "organizer": (404, 404, 404),
        "admin": (404, 404, 404),
    },
    "PATCH /api/v1/bookings/{booking_id}": {
        **NOBODY,
        "attendee": (200, 404, 404),
        "organizer": (404, 404, 404),
        "admin": (200, 200, 404),
    },
    "POST /api/v1/bookings/{booking_id}/confirm": {
        **NOBODY,
        "attendee": (200, 404, 404),
        "organizer": (200, 404, 404),
        "admin": (200, 200, 404),
    },
    "POST /api/v1/bookings/{booking_id}/pay": {
        **NOBODY,
        "attendee": (409, 404, 404),
        "organizer": (404, 404, 404),
        "admin": (404, 404, 404),
    },
    "POST /api/v1/bookings/{booking_id}/refund-paid": {
        **NOBODY,
        "attendee": (403, 403, 403),
        "organizer": (409, 404, 404),
        "admin": (409, 409, 404),
    },
    "DELETE /api/v1/bookings/{booking_id}": {
        **NOBODY,
        "attendee": (200, 404, 404),
        "organizer": (200, 404, 404),
        "admin": (200, 200, 404),
    },
    "GET /api/v1/admin/events/{event_id}/reconciliation": AN_ADMINS,
    "POST /api/v1/admin/events/{event_id}/reconciliation": AN_ADMINS,
    "DELETE /api/v1/events/{event_id}/promo-codes/{code_id}": AN_ENDING,
    "DELETE /api/v1/events/{event_id}/pools/{pool_id}": AN_ENDING,
    "DELETE /api/v1/events/{event_id}/ticket-types/{type_id}": AN_ENDING,
    "DELETE /api/v1/events/{event_id}": A_ORGANIZERS,
    "GET /api/v1/admin/users/details/{user_id}": AN_ADMINS,
    "POST /api/v1/admin/users/{user_id}/unban": AN_ADMINS,
    "PATCH /api/v1/admin/users/role/{user_id}": AN_ADMINS,
    "DELETE /api/v1/admin/users/{user_id}": AN_ADMINS,
}
"""The statuses for a caller's own thing, another's and none. Nobody learns that a thing is there which is not theirs
to see. In this order: what ends things comes last. An organizer's own booking is one of its event."""

BODIES = {
    "POST /api/v1/events/{event_id}/ticket-types": {"name": "Adult"},
    "PATCH /api/v1/events/{event_id}/ticket-types/{type_id}": {"name": "Another name"},
    "POST /api/v1/events/{event_id}/pools": {"name": "Stalls", "size": 5},
    "PATCH /api/v1/events/{event_id}/pools/{pool_id}": {"name": "Another name"},
    "POST /api/v1/events/{event_id}/promo-codes": {"pattern": "A-######"},
    "PATCH /api/v1/events/{event_id}/promo-codes/{code_id}": {"max_uses": 5},
    "POST /api/v1/bookings/{booking_id}/confirm": {},
    "POST /api/v1/bookings/{booking_id}/refund-paid": {
        "refund_reference": "payout",
        "amount_minor": 1,
        "currency": "EUR",
    },
    "PATCH /api/v1/events/{event_id}": {"title": "Another title"},
    "PATCH /api/v1/admin/users/role/{user_id}": {"role": "organizer"},
    "POST /api/v1/events/{event_id}/comps": lambda ids: {
        "email": "guest@example.org",
        "items": [{"ticket_type_id": ids["event"], "quantity": 1}],
    },
    "PATCH /api/v1/bookings/{booking_id}": lambda ids: {
        "items": [{"ticket_type_id": ids["event"], "quantity": 1}],
    },
}


def test_every_route_with_an_id_has_a_row():
    """S14: a new route that names a thing needs a row."""
    named = {row for row in MAY if any(f"{{{name}_id}}" in row for name in NAMES)}

    assert named == set(EXPECTED)


@pytest.mark.parametrize("cookies", [False, True], ids=["bearer", "cookies"])
async def test_nobody_reaches_what_is_not_theirs(callers, client, cookies, worker):  # noqa: ARG001  (persists beside)
    """S14: attendee A and B, organizer A and B, admin, banned and anonymous, own, other and missing."""
    world = await _world(callers)
    wrong = {}
    for row in EXPECTED:
        for bearer, role, side in world["callers"]:
            caller = bearer.with_cookies() if bearer and cookies else bearer
            for whose, expected in zip(("own", "other", "missing"), EXPECTED[row][role], strict=True):
                status = await _status(client, caller, row, world[_side(side, whose)])
                if status != expected:
                    wrong[row, role, side, whose] = status, expected

    assert wrong == {}


def _side(side, whose):
    if whose == "missing":
        return whose
    return side if whose == "own" else {"a": "b", "b": "a"}[side]


async def _world(callers):
    """Two organizers, each with an event, two attendees, each with a booking of one, and who else might call."""
    world = {"callers": [(None, "anonymous", "a")], "missing": dict.fromkeys(NAMES, NOBODYS_ID)}
    banned, admin = await callers.attendee(), await callers.admin()
    await admin.delete(f"/api/v1/admin/users/{banned.id}")
    world["callers"].append((banned, "banned", "a"))
    for side in "ab":
        organizer, attendee = await callers.organizer(), await callers.attendee()
        event = (await organizer.make_event())["id"]
        booking = (await attendee.book(event)).json()["id"]
        # What is done to an account ends its tokens, so it is done to one that calls nothing.
        world[side] = {"event": event, "booking": booking, "user": (await callers.attendee()).id}
        world[side] |= await _sold(organizer, event)
        world["callers"] += [(attendee, "attendee", side), (organizer, "organizer", side)]
    world["callers"].append((admin, "admin", "a"))
    return world


async def _sold(organizer, event):
    """A ticket type, a pool and a promo code of an event."""
    path = f"/api/v1/events/{event}"
    return {
        "type": (await organizer.post(f"{path}/ticket-types", {"name": "Child", "hidden": True})).json()["id"],
        "pool": (await organizer.post(f"{path}/pools", {"name": "Hall", "size": 9})).json()["id"],
        "code": (await organizer.post(f"{path}/promo-codes", {"code": "early"})).json()["items"][0]["id"],
    }


async def _status(client, caller, row, ids):
    method, path = row.split(" ")
    for name in NAMES:
        path = path.replace(f"{{{name}_id}}", ids[name])
    body = BODIES.get(row)
    body = body(ids) if callable(body) else body
    if caller is None:
        return (await client.request(method, path, json=body)).status_code
    return (await caller.call(method, path, json=body)).status_code
