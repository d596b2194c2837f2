"""Mistakes that systems of this kind made before, each as the fact that must hold here.

Tested elsewhere: capacity does not fall below what is sold (tests/api/resources/test_events.py); a new password ends
every other session (tests/api/access/test_revocation.py).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from uuid import UUID, uuid4

from domain.accounts.tokens import REQUIRED_CLAIMS
from domain.platform.settings import Limit
from tests.api.callers import PASSWORD
from tests.api.conftest import serving
from tests.factories import begin
from tests.waiting import eventually, persist_all

NEW_PASSWORD = "another fine password"
CANARY = "canary-password-5f1d"

INTEGERS = [2**31, 2**63, -(2**31), 10**40]


async def test_a_booking_cancelled_32_times_at_once_returns_its_tickets_once(callers, client, stores):
    event = await (await callers.organizer()).make_event(capacity=10)
    buyer, other = await callers.attendee(), await callers.attendee()
    booking = (await buyer.book(event["id"], quantity=4)).json()
    await other.book(event["id"], quantity=3)
    await persist_all(stores)

    answers = await asyncio.gather(*(buyer.delete(f"/api/v1/bookings/{booking['id']}") for _ in range(32)))
    await persist_all(stores)

    assert {answer.status_code for answer in answers} == {200}
    shown = (await client.get(f"/api/v1/events/{event['id']}")).json()
    assert (shown["remaining"], shown["booked"]) == (7, 3)


async def test_closing_an_account_returns_the_tickets_of_future_bookings_only(callers, client, stores):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    past, future = await organizer.make_event(capacity=10), await organizer.make_event(capacity=10)
    for event in (past, future):
        assert (await buyer.book(event["id"], quantity=2)).status_code == 202
    await persist_all(stores)
    await begin(stores, UUID(past["id"]))

    closed = await buyer.call("DELETE", "/api/v1/me", json={"current_password": PASSWORD})

    assert closed.status_code == 204
    await eventually(
        lambda: client.get(f"/api/v1/events/{future['id']}"), is_so=lambda answer: answer.json()["remaining"] == 10
    )
    assert (await client.get(f"/api/v1/events/{past['id']}")).json()["booked"] == 2


async def test_a_banned_accounts_refresh_token_mints_nothing(callers):
    admin, caller = await callers.admin(), await callers.attendee()
    await admin.delete(f"/api/v1/admin/users/{caller.id}")

    refused = [
        await caller.call(method, "/api/v1/auth/refresh_token", token=caller.refresh_token)
        for method in ("GET", "POST")
    ]

    assert [answer.status_code for answer in refused] == [401, 401]
    assert "access_token" not in refused[0].text + refused[1].text


async def test_unbanning_does_not_revive_the_tokens_of_before(callers):
    admin, caller = await callers.admin(), await callers.attendee()
    await admin.delete(f"/api/v1/admin/users/{caller.id}")
    await admin.post(f"/api/v1/admin/users/{caller.id}/unban")

    assert (await caller.get("/api/v1/me")).status_code == 401
    assert (await caller.post("/api/v1/auth/refresh_token", token=caller.refresh_token)).status_code == 401


async def test_the_admins_login_refuses_wrong_passwords_and_whoever_is_no_admin(callers, client):
    admin, organizer, attendee = await callers.admin(), await callers.organizer(), await callers.attendee()
    attempts = [
        (admin.email, PASSWORD + "x"),
        (admin.email, ""),
        (admin.email, PASSWORD.upper()),
        (organizer.email, PASSWORD),
        (attendee.email, PASSWORD),
        ("nobody@example.org", PASSWORD),
    ]

    refused = [
        await client.post("/api/v1/admin/auth/login", json={"email": email, "password": password})
        for email, password in attempts
    ]
    let_in = await client.post("/api/v1/admin/auth/login", json={"email": admin.email, "password": PASSWORD})

    alike = {(answer.status_code, json.dumps(answer.json() | {"instance": ""})) for answer in refused}
    assert len(alike) == 1
    assert refused[0].json()["code"] == "invalid_credentials"
    assert (let_in.status_code, let_in.json()["user"]["role"]) == (200, "admin")


async def test_a_token_carries_no_password_hash_and_no_address(callers):
    admin = await callers.admin()

    for token in (admin.access_token, admin.refresh_token):
        header, claims = (json.loads(_decoded(part)) for part in token.split(".")[:2])
        said = json.dumps([header, claims])
        assert "argon2" not in said
        assert "$" not in said
        assert "@" not in said
        assert set(claims) == set(REQUIRED_CLAIMS)


async def test_no_answer_carries_a_password_hash(callers, client):
    admin, caller = await callers.admin(), await callers.attendee()
    credentials = {"email": caller.email, "password": PASSWORD}

    answers = [
        await client.post("/api/v1/auth/login", json=credentials),
        await admin.get(f"/api/v1/admin/users/details/{caller.id}"),
        await admin.get("/api/v1/admin/users/attendees"),
        await caller.get("/api/v1/me"),
        await admin.get("/api/v1/admin/audit-log"),
    ]

    for answer in answers:
        assert answer.status_code == 200
        assert "argon2" not in answer.text
        assert "hash" not in answer.text


async def test_ten_ids_do_not_mean_ten_times_the_limit(callers, settings):
    admin, buyer = await callers.admin(), await callers.attendee()
    few = settings.model_copy(
        update={"limit_booking_cancel": Limit.parse("3/3600"), "limit_admin_write": Limit.parse("3/3600")}
    )
    async with serving(few) as client:
        cancelled = [await buyer.through(client).delete(f"/api/v1/bookings/{uuid4()}") for _ in range(10)]
        banned = [await admin.through(client).delete(f"/api/v1/admin/users/{uuid4()}") for _ in range(10)]

    for answers in (cancelled, banned):
        assert Counter(answer.status_code for answer in answers) == {404: 3, 429: 7}


async def test_a_validation_error_never_echoes_the_password(callers, client):
    caller = await callers.attendee()
    answers = [
        await client.post("/api/v1/auth/signup", json={"email": "no address", "password": CANARY}),
        await client.post("/api/v1/auth/signup", json={"email": "a@example.org", "password": [CANARY]}),
        await client.post("/api/v1/auth/signup", json={"email": "a@example.org", "password": CANARY, "x": 1}),
        await client.post("/api/v1/auth/signup", json={"email": CANARY, "password": CANARY}),
        await client.post(
            "/api/v1/auth/signup", json={"email": "a@example.org", "password": PASSWORD, "confirm_password": CANARY}
        ),
        await client.post("/api/v1/auth/login", json={"email": 1, "password": CANARY}),
        await caller.patch("/api/v1/me", {"current_password": CANARY, "password": CANARY[:7]}),
    ]

    for answer in answers:
        assert answer.status_code == 422, answer.text
        assert CANARY not in answer.text
        assert CANARY[:7] not in answer.text


async def test_a_null_a_nul_byte_and_a_large_integer_are_refused_and_never_an_error_of_ours(callers, client):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    path = f"/api/v1/events/{event['id']}"
    bodies = [
        *({name: None} for name in ("title", "location", "starts_at", "capacity", "paused", "description")),
        *({name: "a\x00b\x00c"} for name in ("title", "location", "description", "starts_at")),
        *({name: number} for name in ("capacity", "max_per_user") for number in INTEGERS),
    ]

    answers = [await organizer.patch(path, body) for body in bodies]
    answers += [await organizer.post("/api/v1/events", event | body) for body in bodies]
    answers += [
        await buyer.post("/api/v1/bookings", {"event_id": event["id"], "quantity": wrong})
        for wrong in [*INTEGERS, None]
    ]
    answers += [await client.get(f"/api/v1/events?skip={number}") for number in INTEGERS]
    answers += [
        await client.post("/api/v1/auth/signup", json={"email": "a\x00@example.org", "password": PASSWORD}),
        await client.post("/api/v1/auth/signup", json={"email": None, "password": None}),
        await client.post("/api/v1/auth/login", json={"email": "a@example.org", "password": None}),
    ]
    odd_passwords = await client.post("/api/v1/auth/login", json={"email": "a\x00", "password": "a\x00b"})

    assert Counter(answer.status_code for answer in answers) == {422: len(answers)}
    assert odd_passwords.status_code == 401
    assert (await client.get(path)).json()["version"] == event["version"]


async def test_a_new_password_asks_for_the_current_one(callers, client):
    caller = await callers.attendee()

    without = await caller.patch("/api/v1/me", {"password": NEW_PASSWORD})
    wrong = await caller.patch("/api/v1/me", {"password": NEW_PASSWORD, "current_password": NEW_PASSWORD})

    assert (without.status_code, without.json()["errors"][0]["pointer"]) == (422, "/current_password")
    assert (wrong.status_code, wrong.json()["code"]) == (403, "wrong_password")
    credentials = {"email": caller.email, "password": NEW_PASSWORD}
    assert (await client.post("/api/v1/auth/login", json=credentials)).status_code == 401


async def test_sold_out_is_never_told_to_whoever_has_a_booking_under_that_key(callers, stores):
    event = await (await callers.organizer()).make_event(capacity=2)
    buyer = await callers.attendee()
    first = await buyer.book(event["id"], quantity=2, key="mine")
    await persist_all(stores)

    replayed = await buyer.book(event["id"], quantity=2, key="mine")
    another = await (await callers.attendee()).book(event["id"])

    assert (replayed.status_code, replayed.json()["id"]) == (200, first.json()["id"])
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert (another.status_code, another.json()["code"]) == (409, "sold_out")


async def test_a_sale_of_more_requests_than_tickets_sells_each_ticket_once(callers, client, stores):
    event = await (await callers.organizer()).make_event(capacity=10, max_per_user=100)
    buyers = [await callers.attendee() for _ in range(4)]

    answers = await asyncio.gather(*(buyers[n % 4].book(event["id"]) for n in range(60)))
    await persist_all(stores)

    assert Counter(answer.status_code for answer in answers) == {202: 10, 409: 50}
    assert (await client.get(f"/api/v1/events/{event['id']}")).json()["remaining"] == 0


def _decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
