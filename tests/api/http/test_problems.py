"""Every error is a problem document that names the cause and reveals nothing else."""

from __future__ import annotations

import unicodedata

from tests.api.callers import event_draft

NOBODYS_ID = "0b0b0b0b-0000-4000-8000-000000000002"
ORDER = {"event_id": NOBODYS_ID}

NO_ORDERS = [
    (b"", 400),
    (b"null", 422),
    (b"[]", 422),
    (b"1", 422),
    (b"\xef\xbb\xbf{}", 400),
    (b"{} {}", 400),
    (b'{"event_id": NaN}', 400),
    (b'{"event_id": "\xff"}', 400),
    (b'{"event_id": "\\ud800"}', 400),
    (b"{", 400),
    (b"[" * 200_000, 413),
    (b"[" * 60_000, 400),
    (b'{"a":' * 10_000, 400),
    (b'{"event_id":' + b"[" * 30_000 + b"]" * 30_000 + b"}", 400),
    (b'{"x": "' + b"x" * (65_536 - 10) + b'"}', 422),
    (b'{"x": "' + b"x" * (65_537 - 9) + b'"}', 413),
    (b'{"event_id": "%s", "quantity": -1}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": 0}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": 101}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": 9007199254740993}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": 9223372036854775808}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": 1%s}' % (ORDER["event_id"].encode(), b"0" * 400), 422),
    (b'{"event_id": "%s", "quantity": 1.0}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": "2"}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": true}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "quantity": null}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "{%s}"}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "not a uuid"}', 422),
    (b'{"event_id": "%s", "status": "confirmed"}' % ORDER["event_id"].encode(), 422),
    (b'{"event_id": "%s", "event_id": 1}' % ORDER["event_id"].encode(), 400),
]

OTHER_TYPES = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json"]

BROKEN_EVENTS = [
    ("title", "nul\x00"),
    ("title", "abc\u202egnp.exe"),
    ("title", "line\nbreak"),
    ("title", "   "),
    ("title", "\u200b\u200b\u200b"),
    ("title", "x" * 151),
    ("description", "x" * 10_001),
    ("description", "bell\x07"),
    ("location", None),
    ("starts_at", "2030-01-01T00:00:00"),
    ("starts_at", "2030-02-30T00:00:00Z"),
    ("starts_at", "0000-01-01T00:00:00Z"),
    ("starts_at", "0001-01-01T00:00:00+23:59"),
    ("starts_at", "9999-12-31T23:59:59-23:59"),
    ("starts_at", "2001-01-01T00:00:00Z"),
    ("starts_at", 1_900_000_000),
    ("ends_at", "2020-01-01T00:00:00Z"),
    ("sales_close_at", "2099-01-01T00:00:00Z"),
    ("capacity", 1_000_001),
    ("capacity", 2**31),
    ("max_per_user", 101),
    ("id", NOBODYS_ID),
    ("organizer_id", NOBODYS_ID),
    ("version", 7),
]

TITLES = ["Пётр и волк", "🎻 Night 👩‍👩‍👧", "Cafe\u0301 del Mar", "Robert'); DROP TABLE events;--", "%_\\"]

BROKEN_QUERIES = [
    "limit=0",
    "limit=101",
    "limit=-1",
    "limit=x",
    "limit=٣",
    "limit=" + "9" * 5_000,
    "skip=10001",
    "skip=-1",
    "cursor=x",
    "cursor=W10",
    "cursor=%00",
    "cursor=" + "x" * 301,
    "upcoming_only=perhaps",
    "q=" + "x" * 101,
]

ODD_QUERIES = ["q=%00", "q=%25", "q=%ff", "q=", "upcoming_only=0", "limit=1.0"]

NOWHERE = [
    ("GET", "/api/v1/nothing", 404, "not_found"),
    ("GET", "/api/v1/events/not-a-uuid", 404, "not_found"),
    ("GET", "/api/v1/events/%00", 404, "not_found"),
    ("GET", "/api/v1/../../etc/passwd", 404, "not_found"),
    ("GET", f"/api/v1/events/{NOBODYS_ID}", 404, "event_not_found"),
    ("PUT", "/api/v1/events", 405, "method_not_allowed"),
    ("TRACE", "/api/v1/events", 405, "method_not_allowed"),
    ("GET", "/api/v1/me", 401, "unauthenticated"),
]

REQUEST_IDS = [("abc-123", True), ("x" * 129, False), ("a b", False), ("<script>", False), ("ä".encode(), False)]

PATHS = ["/", "/api/v1/events", "/api/v1/nothing", "/health/live", "/api/v1/docs"]

AUTHORIZATIONS = ["", "Bearer", "Bearer ", "Basic eDp5", "bearer x.y.z", "Bearer " + "x" * 5_000, "Bearer ä"]

BROKEN_SIGNUPS = [
    ("email", "nobody"),
    ("email", "a@b@example.org"),
    ("email", "a b@example.org"),
    ("email", "x" * 65 + "@example.org"),
    ("email", "x@" + "y" * 300 + ".org"),
    ("email", "x@example"),
    ("email", "nul\x00@example.org"),
    ("password", "short"),
    ("password", "x" * 129),
    ("password", "Password123"),
    ("password", "SOMEBODY@example.org"),
    ("role", "admin"),
    ("confirm_password", "something else"),
    ("id", NOBODYS_ID),
    ("status", "active"),
]


def _is_problem(answer, status, code):
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["instance"] == answer.headers["X-Request-Id"]
    assert {"type", "title", "detail"} <= body.keys()
    return body


async def test_a_body_that_is_no_order_is_refused(callers):
    buyer = await callers.attendee()

    for body, status in NO_ORDERS:
        answer = await buyer.call(
            "POST", "/api/v1/bookings", content=body, headers={"Content-Type": "application/json"}
        )

        code = {400: "malformed_body", 413: "body_too_large", 422: "invalid_request"}[status]
        _is_problem(answer, status, code)


async def test_a_body_of_another_type_is_refused(callers):
    buyer = await callers.attendee()

    for media_type in OTHER_TYPES:
        answer = await buyer.call("POST", "/api/v1/bookings", content=b"{}", headers={"Content-Type": media_type})

        _is_problem(answer, 415, "unsupported_media_type")


async def test_every_broken_rule_is_told_at_once_and_no_value_repeated(callers):
    organizer = await callers.organizer()
    draft = event_draft(title="", capacity=0, starts_at="tomorrow-canary", colour="red-canary", max_per_user="8-canary")

    answer = await organizer.post("/api/v1/events", draft)

    body = _is_problem(answer, 422, "invalid_request")
    pointers = {error["pointer"] for error in body["errors"]}
    assert pointers == {"/title", "/capacity", "/starts_at", "/colour", "/max_per_user"}
    assert "canary" not in answer.text


async def test_an_event_that_breaks_a_rule_is_refused(callers):
    organizer = await callers.organizer()

    for field, value in BROKEN_EVENTS:
        answer = await organizer.post("/api/v1/events", event_draft(**{field: value}))

        body = _is_problem(answer, 422, "invalid_request")
        assert {error["pointer"] for error in body["errors"]} == {f"/{field}"}


async def test_names_of_any_script_are_kept(callers, client):
    for title in TITLES:
        made = await (await callers.organizer()).make_event(title=title + "...")

        assert made["title"] == unicodedata.normalize("NFC", title + "...")
        found = await client.get("/api/v1/events", params={"q": title})
        assert [event["id"] for event in found.json()["items"]] == [made["id"]]


async def test_a_query_that_breaks_a_rule_is_refused(client):
    for query in BROKEN_QUERIES:
        answer = await client.get(f"/api/v1/events?{query}")

        body = _is_problem(answer, 422, "invalid_request")
        assert body["errors"][0]["pointer"] == f"/{query.partition('=')[0]}"


async def test_an_odd_query_is_answered(client):
    for query in ODD_QUERIES:
        assert (await client.get(f"/api/v1/events?{query}")).status_code == 200


async def test_a_path_that_leads_nowhere_is_a_problem(client):
    for method, path, status, code in NOWHERE:
        _is_problem(await client.request(method, path), status, code)


async def test_a_trailing_slash_means_the_same_route(client):
    assert (await client.get("/api/v1/events/")).status_code == 200


async def test_head_answers_as_get_without_a_body(client):
    answer = await client.head("/api/v1/events")

    assert (answer.status_code, answer.content) == (200, b"")


async def test_options_lists_the_methods(client):
    events = await client.options("/api/v1/events")
    booking = await client.options(f"/api/v1/bookings/{NOBODYS_ID}")

    assert events.status_code == 204
    assert events.headers["Allow"] == "GET, HEAD, OPTIONS, POST"
    assert booking.headers["Allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"


async def test_a_sane_request_id_is_kept(client):
    for sent, kept in REQUEST_IDS:
        answer = await client.get("/health/live", headers={"X-Request-Id": sent})

        assert (answer.headers["X-Request-Id"] == sent) is kept
        assert answer.headers["X-Request-Id"]


async def test_every_answer_has_the_security_headers(client):
    """S23: on every answer, errors and pages too."""
    for path in PATHS:
        headers = (await client.get(path)).headers

        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Cache-Control"]
        assert "Server" not in headers


async def test_an_unusable_token_is_one_401(client):
    for authorization in AUTHORIZATIONS:
        answer = await client.get("/api/v1/me", headers={"Authorization": authorization.encode()})

        body = _is_problem(answer, 401, "unauthenticated")
        assert body["detail"] == "A valid access token is needed."
        assert answer.headers["WWW-Authenticate"] == "Bearer"


async def test_a_signup_that_breaks_a_rule_is_refused(client):
    for field, value in BROKEN_SIGNUPS:
        body = {"email": "somebody@example.org", "password": "a fine long password"} | {field: value}

        answer = await client.post("/api/v1/auth/signup", json=body)

        problem = _is_problem(answer, 422, "invalid_request")
        assert field in {error["pointer"].removeprefix("/") for error in problem["errors"]}
        assert value not in answer.text or value in {"x", "short"}


async def test_an_address_is_taken_however_it_is_spelled(client):
    body = {"email": "Zoë@Example.org", "password": "a fine long password"}
    assert (await client.post("/api/v1/auth/signup", json=body)).status_code == 201

    answer = await client.post("/api/v1/auth/signup", json=body | {"email": " zoe\u0308@example.ORG "})

    _is_problem(answer, 409, "email_taken")
    login = body | {"email": "ZOË@example.org"}
    assert (await client.post("/api/v1/auth/login", json=login)).status_code == 200


async def test_wrong_password_and_unknown_address_are_answered_alike(callers, client):
    """S8: the same status, body and header fields."""
    caller = await callers.attendee()

    wrong = await client.post("/api/v1/auth/login", json={"email": caller.email, "password": "not this one"})
    unknown = await client.post("/api/v1/auth/login", json={"email": "no@example.org", "password": "not this one"})
    no_admin = await client.post(
        "/api/v1/admin/auth/login", json={"email": caller.email, "password": "a fine long password"}
    )

    bodies = [{k: v for k, v in answer.json().items() if k != "instance"} for answer in (wrong, unknown, no_admin)]
    assert [answer.status_code for answer in (wrong, unknown, no_admin)] == [401, 401, 401]
    assert bodies[0] == bodies[1] == bodies[2]
    assert wrong.headers.keys() == unknown.headers.keys() == no_admin.headers.keys()


async def test_a_method_that_a_path_with_a_wrong_id_has_not_is_not_found(client):
    answers = [await client.put(path) for path in ("/api/v1/events/abc", "/api/v1/bookings/abc/status")]

    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(404, "not_found")] * 2
