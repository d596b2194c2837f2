"""An unknown query parameter is refused, after authentication."""

from __future__ import annotations

from uuid import UUID

import pytest
from litestar.routes import HTTPRoute

from api.app import create_litestar
from api.fast_path import FastRequest
from api.http.queries import parameters_of
from tests.api.access.test_roles import MAY, NOBODYS_ID
from tests.api.callers import PASSWORD, event_draft

UNSERVED = ("/docs", "/redoc", "/openapi.json")
"""Pages, which ignore what they do not know, as health and metrics do."""

_CREDENTIALS = {"email": "somebody@example.org", "password": PASSWORD}

BODIES = {
    "POST /api/v1/auth/signup": _CREDENTIALS,
    "POST /api/v1/auth/login": _CREDENTIALS,
    "POST /api/v1/admin/auth/login": _CREDENTIALS,
    "PATCH /api/v1/me": {"email": "other@example.org", "current_password": PASSWORD},
    "DELETE /api/v1/me": {"current_password": PASSWORD},
    "PATCH /api/v1/me/role": {"role": "attendee"},
    "POST /api/v1/events": event_draft(),
    "PATCH /api/v1/events/{event_id}": {},
    "POST /api/v1/events/{event_id}/ticket-types": {"name": "Adult"},
    "PATCH /api/v1/events/{event_id}/ticket-types/{type_id}": {},
    "POST /api/v1/events/{event_id}/pools": {"name": "Stalls", "size": 100},
    "PATCH /api/v1/events/{event_id}/pools/{pool_id}": {},
    "POST /api/v1/events/{event_id}/promo-codes": {"code": "EARLY"},
    "PATCH /api/v1/events/{event_id}/promo-codes/{code_id}": {},
    "POST /api/v1/events/{event_id}/comps": {"email": "guest@example.org", "items": [{"ticket_type_id": NOBODYS_ID}]},
    "POST /api/v1/bookings": {"event_id": NOBODYS_ID},
    "PATCH /api/v1/bookings/{booking_id}": {"items": [{"ticket_type_id": NOBODYS_ID, "quantity": 1}]},
    "POST /api/v1/bookings/{booking_id}/confirm": {},
    "POST /api/v1/bookings/{booking_id}/refund-paid": {
        "refund_reference": "r-1",
        "amount_minor": 100,
        "currency": "EUR",
    },
    "PATCH /api/v1/admin/users/role/{user_id}": {"role": "attendee"},
}
"""Bodies that break no rule."""


def _path(route):
    path = route.partition(" ")[2].replace("{name}", "swagger-ui.css")
    for name in ("event_id", "booking_id", "user_id", "type_id", "pool_id", "code_id", "intent_id"):
        path = path.replace(f"{{{name}}}", NOBODYS_ID)
    return path


def _is_of_the_api(route):
    return "/api/v1/" in route and not any(part in route for part in UNSERVED)


async def test_every_route_of_the_api_refuses_a_parameter_it_does_not_have(callers):
    wrong = {}
    for route in filter(_is_of_the_api, MAY):
        admin = await callers.admin()
        token = admin.refresh_token if "refresh_token" in route else None
        answer = await admin.call(
            route.partition(" ")[0], _path(route), token=token, params={"nobody": "asked"}, json=BODIES.get(route)
        )
        told = [error["pointer"] for error in answer.json().get("errors", [])] if answer.content else []
        if (answer.status_code, told) != (422, ["/nobody"]):
            wrong[route] = answer.text

    assert wrong == {}


@pytest.mark.parametrize("query", ["limit=1&limit=2", "limit=1&limit=1", "q=a&limit=1&q=b", "q=&q="])
async def test_a_parameter_that_is_given_twice_is_refused(client, query):
    answer = await client.get(f"/api/v1/events?{query}")

    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"pointer": f"/{query[: query.index('=')]}", "message": "is given more than once"}
    ]


async def test_who_calls_is_asked_first(callers, client):
    attendee = await callers.attendee()

    unknown = await client.get("/api/v1/bookings/my-bookings?nobody=asked")
    forbidden = await attendee.get("/api/v1/admin/audit-log?nobody=asked")

    assert (unknown.status_code, forbidden.status_code) == (401, 403)


async def test_nothing_is_booked_by_a_request_that_is_refused(callers, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()

    refused = await buyer.post("/api/v1/bookings?quantity=2", {"event_id": event["id"]})

    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/quantity")
    assert await stores.inventory.taken([UUID(event["id"])]) == [0]


@pytest.mark.parametrize("path", ["/", "/api/v1/docs", "/api/v1/openapi.json", "/health/live", "/metrics"])
async def test_pages_health_and_metrics_ignore_what_they_do_not_know(client, path):
    assert (await client.get(path, params={"nobody": "asked"})).status_code == 200


def test_routes_of_the_fast_path_take_no_parameters(settings):
    """The fast path refuses every parameter before anything is reserved."""
    taking = [
        handler
        for route in create_litestar(settings).routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if handler.request_class is FastRequest and parameters_of(handler)
    ]

    assert taking == []
