"""Every role on every route. A route without a row here fails."""

from __future__ import annotations

import pytest
from litestar import Litestar, get

from api.access.declarations import Undeclared, access, check_declared
from api.app import create_litestar
from api.context import rules_of

NOBODYS_ID = "0b0b0b0b-0000-4000-8000-000000000002"

ANYONE = frozenset({"anonymous", "attendee", "organizer", "admin", "banned"})
MEMBERS = frozenset({"attendee", "organizer", "admin"})
SELLERS = frozenset({"organizer", "admin"})
ADMINS = frozenset({"admin"})

MAY = {
    "POST /api/v1/auth/signup": ANYONE,
    "POST /api/v1/auth/login": ANYONE,
    "GET /api/v1/auth/refresh_token": MEMBERS,
    "POST /api/v1/auth/refresh_token": MEMBERS,
    "GET /api/v1/auth/logout": MEMBERS,
    "POST /api/v1/auth/logout": MEMBERS,
    "GET /api/v1/me": MEMBERS,
    "PATCH /api/v1/me": MEMBERS,
    "DELETE /api/v1/me": MEMBERS,
    "PATCH /api/v1/me/role": MEMBERS,
    "GET /api/v1/dashboard": MEMBERS,
    "GET /api/v1/events": ANYONE,
    "GET /api/v1/events/{event_id}": ANYONE,
    "GET /api/v1/events/{event_id}/availability": ANYONE,
    "POST /api/v1/events": SELLERS,
    "PATCH /api/v1/events/{event_id}": SELLERS,
    "DELETE /api/v1/events/{event_id}": SELLERS,
    "POST /api/v1/events/{event_id}/comps": SELLERS,
    "POST /api/v1/bookings": MEMBERS,
    "GET /api/v1/bookings/my-bookings": MEMBERS,
    "GET /api/v1/events/{event_id}/ticket-types": ANYONE,
    "POST /api/v1/events/{event_id}/ticket-types": SELLERS,
    "PATCH /api/v1/events/{event_id}/ticket-types/{type_id}": SELLERS,
    "DELETE /api/v1/events/{event_id}/ticket-types/{type_id}": SELLERS,
    "GET /api/v1/events/{event_id}/pools": SELLERS,
    "POST /api/v1/events/{event_id}/pools": SELLERS,
    "PATCH /api/v1/events/{event_id}/pools/{pool_id}": SELLERS,
    "DELETE /api/v1/events/{event_id}/pools/{pool_id}": SELLERS,
    "GET /api/v1/events/{event_id}/promo-codes": SELLERS,
    "POST /api/v1/events/{event_id}/promo-codes": SELLERS,
    "PATCH /api/v1/events/{event_id}/promo-codes/{code_id}": SELLERS,
    "DELETE /api/v1/events/{event_id}/promo-codes/{code_id}": SELLERS,
    "GET /api/v1/bookings/{booking_id}/status": MEMBERS,
    "GET /api/v1/bookings/{booking_id}/calendar": MEMBERS,
    "POST /api/v1/bookings/{booking_id}/extend": MEMBERS,
    "PATCH /api/v1/bookings/{booking_id}": MEMBERS,
    "DELETE /api/v1/bookings/{booking_id}": MEMBERS,
    "GET /api/v1/bookings/{event_id}": SELLERS,
    "POST /api/v1/bookings/{booking_id}/confirm": MEMBERS,
    "POST /api/v1/bookings/{booking_id}/pay": MEMBERS,
    "POST /api/v1/bookings/{booking_id}/refund-paid": SELLERS,
    "POST /api/v1/payments/stripe/webhook": ANYONE,
    "POST /api/v1/payments/test/{intent_id}": ANYONE,
    "POST /api/v1/admin/auth/login": ANYONE,
    "GET /api/v1/admin/users/attendees": ADMINS,
    "GET /api/v1/admin/users/organizers": ADMINS,
    "GET /api/v1/admin/users/details/{user_id}": ADMINS,
    "PATCH /api/v1/admin/users/role/{user_id}": ADMINS,
    "DELETE /api/v1/admin/users/{user_id}": ADMINS,
    "POST /api/v1/admin/users/{user_id}/unban": ADMINS,
    "GET /api/v1/admin/audit-log": ADMINS,
    "GET /api/v1/admin/events/{event_id}/reconciliation": ADMINS,
    "POST /api/v1/admin/events/{event_id}/reconciliation": ADMINS,
    "GET /health/live": ANYONE,
    "GET /health/ready": ANYONE,
    "GET /metrics": ANYONE,
    "GET /api/v1/docs": ANYONE,
    "GET /api/v1/docs/assets/{name}": ANYONE,
    "GET /api/v1/docs/problems": ANYONE,
    "GET /api/v1/openapi.json": ANYONE,
    "GET /api/v1/redoc": ANYONE,
    "GET /": ANYONE,
    "GET /pay/{intent_id}": ANYONE,
    "GET /events/{event_id}": ANYONE,
    "GET /login": ANYONE,
    "GET /signup": ANYONE,
    "GET /bookings": ANYONE,
    "GET /bookings/{booking_id}": ANYONE,
    "GET /assets/{name}": ANYONE,
}

CREDENTIALS = ("/auth/login", "/auth/signup")
"""Whatever is answered here is about the body, not about who calls."""


def test_every_route_has_a_row(settings):
    """S14: a new route without a row fails."""
    routes = {
        f"{method} {route.path_format}"
        for route in create_litestar(settings).routes
        for method in set(route.methods) - {"OPTIONS"}
    }

    assert routes == set(MAY)


@pytest.mark.parametrize("cookies", [False, True], ids=["bearer", "cookies"])
@pytest.mark.parametrize("who", sorted(ANYONE))
async def test_a_caller_may_what_its_role_may_and_nothing_else(callers, client, who, cookies):
    """S14: every role on every route, with tokens and with cookies."""
    wrong = {}
    caller = await _caller(callers, who, cookies=cookies)
    for row in sorted(MAY, key=lambda row: ("logout" in row, "refresh" in row, row)):
        status = await _status(client, caller, row)
        if status not in _expected(row, who, status):
            wrong[row] = status
        if caller and status < 300 and ("logout" in row or "refresh" in row):
            caller = await _caller(callers, who, cookies=cookies)

    assert wrong == {}


@pytest.mark.parametrize("fields", [{"Onsale-Session": ""}, {"Sec-Fetch-Site": "cross-site"}], ids=["plain", "foreign"])
async def test_cookies_alone_and_those_of_another_site_are_nobodys_on_every_route(callers, client, fields):
    """S2, S14: an admin's cookies without the header field, or sent by a page of another site."""
    admin = await callers.admin()
    stranger = admin.with_cookies(**fields)

    wrong = {}
    for row in MAY:
        status = await _status(client, stranger, row)
        if status not in _expected(row, "anonymous", status):
            wrong[row] = status

    assert wrong == {}
    assert (await admin.get("/api/v1/me")).status_code == 200


def _expected(row, who, status):
    if who in MAY[row]:
        return {status} - ({401, 403, 500} if not row.endswith(CREDENTIALS) else {500})
    return {403} if who in MEMBERS else {401}


async def _caller(callers, who, *, cookies):
    if who == "anonymous":
        return None
    caller = await (callers.attendee() if who == "banned" else getattr(callers, who)())
    if who == "banned":
        await (await callers.admin()).delete(f"/api/v1/admin/users/{caller.id}")
    return caller.with_cookies() if cookies else caller


async def _status(client, caller, row):
    method, path = row.split(" ")
    path = path.replace("{name}", "swagger-ui.css")
    for name in ("event_id", "booking_id", "user_id", "type_id", "pool_id", "code_id", "intent_id"):
        path = path.replace(f"{{{name}}}", NOBODYS_ID)
    body = {} if method in {"POST", "PATCH", "DELETE"} else None
    if caller is None:
        return (await client.request(method, path, json=body)).status_code
    token = caller.refresh_token if "refresh_token" in path else None
    return (await caller.call(method, path, json=body, token=token)).status_code


def test_a_route_that_declares_nothing_does_not_start(settings):
    """S15: deny by default."""

    @get("/undeclared")
    async def undeclared() -> None:
        """Says not who may call it."""

    with pytest.raises(Undeclared, match="/undeclared"):
        check_declared(Litestar([undeclared], logging_config=None), rules_of(settings))


def test_a_limit_that_there_is_not_does_not_start(settings):
    @get("/", **access(frozenset(), limit="nothing"))
    async def mistyped() -> None:
        """Names a limit nobody configured."""

    with pytest.raises(Undeclared):
        check_declared(Litestar([mistyped], logging_config=None), rules_of(settings))
