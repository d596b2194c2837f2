"""Every case of bad input is sent, byte for byte on a socket, to every route that it concerns."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.api.access.test_roles import MAY
from tests.api.bad_input import answers, bodies, fields, queries, requests
from tests.api.callers import PASSWORD, event_draft
from tests.api.server.wires import Wire, bounded, exchange, request

WIRES = 8

JSON = ("Content-Type", "application/json")

TAKES_A_BODY = [
    "POST /api/v1/auth/signup",
    "POST /api/v1/auth/login",
    "PATCH /api/v1/me",
    "PATCH /api/v1/me/role",
    "DELETE /api/v1/me",
    "POST /api/v1/events",
    "PATCH /api/v1/events/{event_id}",
    "POST /api/v1/bookings",
    "POST /api/v1/admin/auth/login",
    "PATCH /api/v1/admin/users/role/{user_id}",
]

EMPTY_IS_FINE = {("PATCH /api/v1/events/{event_id}", "an empty object")}
"""A change of nothing."""

SIGNUP = {"email": "somebody@example.org", "password": PASSWORD}

FIELDS = [
    ("POST /api/v1/bookings", "quantity", fields.INTEGERS),
    ("POST /api/v1/events", "capacity", fields.INTEGERS),
    ("POST /api/v1/events", "max_per_user", fields.INTEGERS),
    ("PATCH /api/v1/events/{event_id}", "capacity", fields.INTEGERS),
    ("POST /api/v1/events", "title", fields.LINES),
    ("POST /api/v1/events", "location", fields.LOCATIONS),
    ("PATCH /api/v1/events/{event_id}", "title", fields.LINES),
    ("POST /api/v1/events", "starts_at", fields.MOMENTS),
    ("POST /api/v1/events", "ends_at", fields.MOMENTS),
    ("POST /api/v1/events", "sales_open_at", fields.MOMENTS),
    ("PATCH /api/v1/events/{event_id}", "sales_close_at", fields.MOMENTS),
    ("POST /api/v1/bookings", "event_id", fields.IDS),
    ("POST /api/v1/auth/signup", "email", fields.EMAILS),
    ("PATCH /api/v1/me", "email", fields.EMAILS),
    ("POST /api/v1/auth/signup", "password", fields.PASSWORDS),
    ("POST /api/v1/auth/signup", "role", fields.ROLES),
    ("PATCH /api/v1/me/role", "role", fields.ROLES),
]
"""The field of a body that is right but for it."""

MAY_BE_NULL = {
    ("ends_at", "POST /api/v1/events"),
    ("sales_open_at", "POST /api/v1/events"),
    ("sales_close_at", "PATCH /api/v1/events/{event_id}"),
}
"""Where nothing is a value."""


@pytest.fixture
async def admin(callers):
    """Who may call everything, and an event of its own."""
    caller = await callers.admin()
    caller.event = await caller.make_event()
    return caller


@pytest.fixture
async def ask(client):
    """Asks many things at once; answers what came back for each, in order."""
    async with bounded(client) as port:
        wires = [Wire(port) for _ in range(WIRES)]
        free = asyncio.Queue()
        for wire in wires:
            free.put_nowait(wire)

        async def one(sent):
            wire = await free.get()
            try:
                return await wire.ask(sent, head=sent.startswith(b"HEAD "))
            finally:
                free.put_nowait(wire)

        yield lambda sent: asyncio.gather(*map(one, sent))
        for wire in wires:
            wire.close()


def _path(route, event_id=answers.NOBODYS_ID):
    path = route.partition(" ")[2]
    for name in ("event_id", "booking_id", "user_id", "type_id", "pool_id", "code_id", "intent_id"):
        path = path.replace(f"{{{name}}}", event_id if name == "event_id" else answers.NOBODYS_ID)
    return path.replace("{name}", "swagger-ui.css")


def _request(route, admin=None, *, body=None, query="", headers=()):
    path = _path(route, admin.event["id"] if admin else answers.NOBODYS_ID) + (f"?{query}" if query else "")
    by = [("Authorization", f"Bearer {admin.access_token}")] if admin else []
    return request(route.partition(" ")[0], path, body=body, headers=[*by, *headers])


async def _wrong(ask, cases):
    """The cases that were answered otherwise than they say, and how."""
    replies = await ask([sent for _, sent, _ in cases])
    wrong = {}
    for (name, _, (status, code)), reply in zip(cases, replies, strict=True):
        told = reply.problem.get("code") if reply.headers.get("content-type") == "application/problem+json" else None
        if (reply.status, told) != (status, code):
            wrong[name] = (reply.status, told)
    return wrong


def test_there_are_cases_enough():
    """Each counted once, however many routes it is sent to."""
    tables = [
        value
        for module in (bodies, fields, queries, requests)
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, dict | list)
    ]
    counted = sum(len(table) for table in tables if table not in (fields.SERVERS_FIELDS, queries.QUERIES))
    counted += sum(map(len, fields.SERVERS_FIELDS.values()))

    assert counted >= 400


async def test_a_body_that_is_none_is_refused_by_every_route_that_takes_one(ask, admin):
    """S16, S17, S18, S20: strict JSON in UTF-8, of 64 KiB at most."""
    cases = [
        ((route, what), _request(route, admin, body=body, headers=[JSON]), expected)
        for route in TAKES_A_BODY
        for what, (body, expected) in bodies.BODIES.items()
        if (route, what) not in EMPTY_IS_FINE
    ]

    assert await _wrong(ask, cases) == {}


async def test_a_body_of_another_type_is_refused_by_every_route_that_takes_one(ask, admin):
    """S17: the media type is checked before anything is read."""
    cases = [
        ((route, media_type), _request(route, admin, body=b"{}", headers=[("Content-Type", media_type)]), expected)
        for route in TAKES_A_BODY
        for media_type, expected in bodies.MEDIA_TYPES.items()
        if expected != answers.INVALID or (route, "an empty object") not in EMPTY_IS_FINE
    ]

    assert await _wrong(ask, cases) == {}


async def test_a_body_with_two_media_types_is_refused_by_every_route_that_takes_one(ask, admin):
    cases = [
        (
            (route, second),
            _request(route, admin, body=b"{}", headers=[("Content-Type", each) for each in pair]),
            (400, "malformed_body"),
        )
        for route in TAKES_A_BODY
        for second in ("text/plain", "application/json")
        for pair in (("application/json", second), (second, "application/json"))
    ]

    assert await _wrong(ask, cases) == {}


def _right_body(route, admin):
    return {
        "POST /api/v1/bookings": {"event_id": admin.event["id"]},
        "POST /api/v1/events": event_draft(),
        "PATCH /api/v1/events/{event_id}": {},
        "POST /api/v1/auth/signup": SIGNUP,
        "PATCH /api/v1/me": {"current_password": PASSWORD},
        "PATCH /api/v1/me/role": {},
    }[route]


def _with(body, field, value):
    """The body as JSON, its field as it is written, whatever that is."""
    members = [f"{json.dumps(name)}: {json.dumps(kept)}" for name, kept in body.items() if name != field]
    written = value if isinstance(value, bytes) else value.encode()
    return b"{" + ", ".join([*members, f"{json.dumps(field)}: "]).encode() + written + b"}"


async def test_a_field_of_the_wrong_kind_is_refused_at_its_name(ask, admin):
    """S17: integers within their columns, moments with an offset of 2000 to 2100, lines without tricks."""
    cases = [
        (
            (route, field, what),
            _request(route, admin, body=_with(_right_body(route, admin), field, value), headers=[JSON]),
        )
        for route, field, table in FIELDS
        for what, value in table.items()
        if not (value == "null" and (field, route) in MAY_BE_NULL)
    ]

    replies = await ask([sent for _, sent in cases])

    wrong = {
        name: (reply.status, reply.body[:300])
        for (name, _), reply in zip(cases, replies, strict=True)
        if reply.status != 422 or {error["pointer"] for error in reply.problem["errors"]} != {f"/{name[1]}"}
    }
    assert wrong == {}


@pytest.mark.parametrize("first", ["bad", "good"])
async def test_a_name_that_is_given_twice_is_refused_by_every_route_that_takes_a_body(ask, admin, first):
    """Whichever value were the right one: the decoder sees the bad one, and whoever reads again the last."""
    pairs = [(route, field) for route, field, _ in FIELDS]
    cases = []
    for route, field in pairs:
        body = _with(_right_body(route, admin), field, b"5.5")
        again = b", " + json.dumps(field).encode() + b": " + _good(route, field)
        twice = body[:-1] + again + b"}" if first == "bad" else body[:1] + again[2:] + b", " + body[1:]
        cases.append(((route, field), _request(route, admin, body=twice, headers=[JSON]), answers.MALFORMED))

    assert await _wrong(ask, cases) == {}


def _good(route, field):
    good = _values(route) | {
        "quantity": 1,
        "capacity": 10,
        "max_per_user": 2,
        "role": "attendee",
        "event_id": answers.NOBODYS_ID,
    }
    return json.dumps(good.get(field, "2099-01-01T00:00:00Z")).encode()


def _values(route):
    return event_draft() if "events" in route else SIGNUP


@pytest.mark.parametrize("name", [b'"quantity"', b'"quantit\\u0079"'])
async def test_an_order_that_says_twice_how_many_books_nothing(ask, admin, name):
    """Both values are right: which one is meant nobody knows."""
    body = b'{"event_id": "%b", "quantity": 1, %b: 2}' % (admin.event["id"].encode(), name)

    (reply,) = await ask([_request("POST /api/v1/bookings", admin, body=body, headers=[JSON])])

    assert (reply.status, reply.problem["code"]) == answers.MALFORMED
    assert (await admin.get("/api/v1/bookings/my-bookings")).json()["items"] == []


async def test_no_field_of_the_servers_can_be_set(ask, admin):
    """S16: unknown fields are refused, those that only the server sets among them."""
    cases = [
        ((route, field), _request(route, admin, body=_with(_right_body(route, admin), field, b"1"), headers=[JSON]))
        for route, fields in fields.SERVERS_FIELDS.items()
        for field in fields
    ]

    replies = await ask([sent for _, sent in cases])

    told = {
        name: (reply.status, [error["pointer"] for error in reply.problem["errors"]])
        for (name, _), reply in zip(cases, replies, strict=True)
    }
    assert told == {name: (422, [f"/{name[1]}"]) for name, _ in cases}


async def test_a_query_that_breaks_a_rule_is_refused_by_every_list(ask, admin):
    """S19: pages of at most 100, at most 10,000 skipped, cursors of ours."""
    cases = [
        ((route, query[:80]), _request(route, admin, query=query), expected)
        for route, queries in queries.QUERIES.items()
        for query, expected in queries.items()
    ]

    assert await _wrong(ask, cases) == {}


async def test_what_is_odd_to_look_for_is_looked_for(ask):
    """S18: nothing of it reaches PostgreSQL as something that it is not."""
    replies = await ask([_request("GET /api/v1/events", query=query) for query in queries.SEARCHED_FOR])

    assert {query: reply.status for query, reply in zip(queries.SEARCHED_FOR, replies, strict=True)} == dict.fromkeys(
        queries.SEARCHED_FOR, 200
    )


async def test_a_path_that_leads_nowhere_is_a_problem(ask):
    """S22: ids are ids before they become keys, and no path is a file's."""
    cases = [(path[:80], request("GET", path), expected) for path, expected in requests.PATHS.items()]

    assert await _wrong(ask, cases) == {}


async def test_every_path_refuses_methods_it_has_not(ask):
    paths = sorted({_path(route) for route in MAY})
    cases = [
        ((method, path), request(method, path), expected)
        for path in paths
        for method, expected in requests.METHODS.items()
    ]

    assert await _wrong(ask, cases) == {}


async def test_options_and_head_are_answered_everywhere(ask):
    paths = sorted({_path(route) for route in MAY})
    read = {_path(route) for route in MAY if route.startswith("GET ")}

    options = await ask([request("OPTIONS", path) for path in paths])
    heads = await ask([request("HEAD", path) for path in paths])
    gets = await ask([request("GET", path) for path in paths])

    assert {reply.status for reply in options} == {204}
    assert [reply.status for reply in heads] == [reply.status for reply in gets]
    assert {path for path, reply in zip(paths, heads, strict=True) if reply.status == 405} == set(paths) - read
    assert all(not reply.body for reply in heads)


async def test_an_authorization_that_is_none_is_the_one_401(ask):
    """S2: of whatever kind the fault is, on every route that needs a token."""
    routes = [route for route, who in MAY.items() if "anonymous" not in who]
    cases = [
        ((route, what), _request(route, headers=[("Authorization", value)]), answers.NOBODY)
        for route in routes
        for what, value in requests.AUTHORIZATIONS.items()
    ]
    cases += [
        ((route, "twice"), _request(route, headers=[("Authorization", "Bearer a.b.c")] * 2), answers.NOBODY)
        for route in routes
    ]

    assert await _wrong(ask, cases) == {}


async def test_an_idempotency_key_that_is_none_is_refused(ask, admin):
    """S22: it becomes part of a key of Redis, hashed, and only if it is one."""
    body = _with({"event_id": admin.event["id"]}, "quantity", b"1")
    cases = [
        (
            what,
            _request(
                "POST /api/v1/bookings", admin, body=body, headers=[JSON, *(("Idempotency-Key", key) for key in keys)]
            ),
            answers.INVALID,
        )
        for what, keys in requests.KEYS.items()
    ]

    assert await _wrong(ask, cases) == {}
    assert (await admin.get("/api/v1/bookings/my-bookings")).json()["items"] == []


async def test_an_odd_header_changes_nothing(ask, admin):
    routes = sorted(
        route for route in MAY if route.startswith("GET ") and "logout" not in route and "refresh" not in route
    )
    plain = await ask([_request(route, admin) for route in routes])

    for what, header in requests.ODD_HEADERS.items():
        odd = await ask([_request(route, admin, headers=[header]) for route in routes])

        assert [reply.status for reply in odd] == [reply.status for reply in plain], what


async def test_what_is_no_http_is_a_problem_and_the_end_of_the_connection(client):
    """S20: one answer, whatever follows, and nothing of it is read as another request."""
    wrong = {}
    async with bounded(client) as port:
        for what, sent in requests.NO_HTTP_AT_ALL.items():
            received = await exchange(port, sent)
            head, _, body = received.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 400 ") or json.loads(body)["code"] != "bad_request":
                wrong[what] = received[:200]

    assert wrong == {}
