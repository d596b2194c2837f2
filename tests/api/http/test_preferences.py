"""Conditional requests and content negotiation: versions, media types, codings, methods, cache headers."""

from __future__ import annotations

import gzip
import json

import pytest

from api.http.conditional import preferred
from tests.api.access.test_roles import MAY
from tests.api.conftest import serving
from tests.api.server.wires import bounded, exchange, request

CSV = "text/csv"
JSON = "application/json"
STREAM = "text/event-stream"
SHOP = "https://shop.example.org"

PAGES = ["/", "/api/v1/docs", "/api/v1/redoc", "/api/v1/docs/problems"]
DOCUMENT = "/api/v1/openapi.json"
STATIC = [*PAGES, DOCUMENT, "/api/v1/docs/assets/swagger-ui.css", "/api/v1/docs/assets/swagger-ui-bundle.js"]


@pytest.fixture
async def organizer(callers):
    return await callers.organizer()


@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ('"other", {current}', 200),
        ('{current}, "other"', 200),
        ('"a,b", {current}', 200),
        ("*", 200),
        ('"other", "another"', 412),
        ("W/{current}", 412),
        ('"other", W/{current}', 412),
        ("{unquoted}", 412),
        ("", 412),
    ],
)
async def test_if_match_is_a_list_of_strong_tags(organizer, tags, status):
    """RFC 9110, 13.1.1: a weak tag matches nothing here, for the caller may have seen something else."""
    path = f"/api/v1/events/{(await organizer.make_event())['id']}"
    current = (await organizer.get(path)).headers["ETag"]
    wanted = tags.format(current=current, unquoted=current.strip('"'))

    answer = await organizer.patch(path, {"title": "Changed"}, headers={"If-Match": wanted})

    assert answer.status_code == status


async def _lines(client, caller, path, lines, *, body=None):
    """The answer to a request with several lines of a field; a PATCH if it has a body."""
    fields = [("Authorization", f"Bearer {caller.access_token}"), ("Connection", "close"), *lines]
    if body:
        fields.append(("Content-Type", JSON))
    async with bounded(client) as port:
        return await exchange(port, request("PATCH" if body else "GET", path, body=body, headers=fields))


async def test_several_lines_of_tags_are_one_list(client, organizer):
    path = f"/api/v1/events/{(await organizer.make_event())['id']}"
    tags = ['"other"', (await organizer.get(path)).headers["ETag"]]

    known = await _lines(client, organizer, path, [("If-None-Match", tag) for tag in tags])
    changed = await _lines(client, organizer, path, [("If-Match", tag) for tag in tags], body=b'{"title": "Changed"}')

    assert known.startswith(b"HTTP/1.1 304 ")
    assert changed.startswith(b"HTTP/1.1 200 ")


WEIGHTS = [
    ("", JSON),
    ("*/*", JSON),
    ("text/*", CSV),
    ("text/csv", CSV),
    ("text/csv;q=0.5", CSV),
    ("TEXT/CSV; Q=0.5", CSV),
    ("text/csv;q=0.1, application/json", JSON),
    ("text/csv;q=0.1, application/*;q=0.2", JSON),
    ("text/csv;q=0, */*", JSON),
    ("text/csv;q=0", JSON),
    ("text/csv, */*;q=0.1", CSV),
    ("text/csv, */*", CSV),
    ("application/json, text/csv", JSON),
    ("text/csv, application/json", CSV),
    ("text/*;q=0.9, text/csv;q=0.1, application/json;q=0.5", JSON),
    ("text/csv;q=2, application/json", JSON),
    ("text/csv;q=nan, application/json", JSON),
    ("image/png", JSON),
    ("text/csv;header=present;q=0.9", CSV),
    (",,;q=1,/,", JSON),
]


@pytest.mark.parametrize(("accept", "expected"), WEIGHTS)
def test_the_media_type_with_the_most_weight_is_preferred(accept, expected):
    """RFC 9110, 12.5.1: the most specific range counts, 0 excludes, the first wins among equals."""
    scope = {"headers": [(b"accept", accept.encode())] if accept else []}

    assert preferred(scope, JSON, CSV) == expected


async def test_the_guest_list_is_a_file_only_for_callers_that_prefer_one(client, organizer):
    path = f"/api/v1/bookings/{(await organizer.make_event())['id']}"

    told = {accept: (await organizer.get(path, headers={"Accept": accept})).headers for accept, _ in WEIGHTS}
    lines = await _lines(client, organizer, path, [("Accept", "text/csv;q=0.1"), ("Accept", JSON)])

    assert {accept: headers["Content-Type"].partition(";")[0] for accept, headers in told.items()} == dict(WEIGHTS)
    assert {headers["Vary"] for headers in told.values()} == {"Accept"}
    assert b"content-type: application/json" in lines


async def test_a_booking_is_a_stream_only_for_callers_that_prefer_one(callers, organizer):
    event = await organizer.make_event()
    buyer = await callers.attendee()
    booked = (await buyer.book(event["id"])).headers["Location"]
    await buyer.delete(booked.removesuffix("/status"))

    async def get(**headers):
        return await buyer.get(booked, headers=headers)

    plain, stream = await get(), await get(Accept=STREAM)
    weighted = await get(Accept=f"{STREAM};q=0.1, {JSON}")
    excluded = await get(Accept=f"{STREAM};q=0")
    known = await get(**{"If-None-Match": plain.headers["ETag"]})

    types = [each.headers["Content-Type"].partition(";")[0] for each in (plain, stream, weighted, excluded)]
    assert types == [JSON, STREAM, JSON, JSON]
    assert known.status_code == 304
    assert {each.headers["Vary"] for each in (plain, stream, weighted, known)} == {"Accept"}


async def test_pages_of_other_origins_are_told_both_reasons_to_vary(clean, unlimited, callers, organizer):  # noqa: ARG001
    event = await organizer.make_event()
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        there = organizer.through(client)
        answer = await there.get(f"/api/v1/bookings/{event['id']}", headers={"Origin": SHOP})

    assert set(answer.headers["Vary"].split(", ")) == {"Accept", "Origin"}


async def test_a_method_that_a_path_does_not_have_is_answered_with_those_that_it_has(client):
    paths = {route.partition(" ")[2] for route in MAY}
    wrong = {}
    for path in sorted(paths):
        asked = path.replace("{name}", "x")
        for name in ("event_id", "booking_id", "user_id", "type_id", "pool_id", "code_id", "intent_id"):
            asked = asked.replace(f"{{{name}}}", "0b0b0b0b-0000-4000-8000-000000000002")
        options = await client.options(asked)
        refused = [await client.request(method, asked) for method in ("PUT", "TRACE")]
        allowed = options.headers["Allow"]
        if "GET" not in allowed:
            refused.append(await client.head(asked))
        if {(each.status_code, each.headers.get("Allow")) for each in refused} != {(405, allowed)}:
            wrong[path] = [(each.status_code, each.headers.get("Allow")) for each in refused]

    assert wrong == {}


async def test_a_new_account_is_told_where_it_is(client):
    body = {"email": "new@example.org", "password": "a fine long password"}

    signed_up = await client.post("/api/v1/auth/signup", json=body)
    session = (await client.post("/api/v1/auth/login", json=body)).json()
    found = await client.get(
        signed_up.headers["Location"], headers={"Authorization": f"Bearer {session['access_token']}"}
    )

    assert found.json() == signed_up.json()


@pytest.mark.parametrize("path", STATIC)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_what_never_changes_has_a_validator(client, path, coding):
    first = await client.get(path, headers={"Accept-Encoding": coding})
    known = {"Accept-Encoding": coding, "If-None-Match": f'"other", W/{first.headers["ETag"]}'}
    again = await client.get(path, headers=known)
    other = await client.get(path, headers={"Accept-Encoding": coding, "If-None-Match": '"other"'})

    assert (again.status_code, again.content) == (304, b"")
    assert (other.status_code, other.content) == (200, first.content)
    for name in ("ETag", "Vary", "Cache-Control"):
        assert again.headers[name] == first.headers[name]
    assert first.headers.get("Content-Security-Policy")


@pytest.mark.parametrize("path", STATIC)
async def test_what_never_changes_is_compressed_for_callers_that_accept_it(client, path):
    plain = await client.get(path, headers={"Accept-Encoding": "identity"})
    raw = await _raw(client, path, "br;q=1.0, gzip;q=0.8, *;q=0.1")
    head, _, body = raw.partition(b"\r\n\r\n")

    assert b"content-encoding: gzip" in head
    assert gzip.decompress(body) == plain.content
    assert len(body) < len(plain.content)
    assert plain.headers["Vary"] == "Accept-Encoding"
    assert b"vary: Accept-Encoding" in head
    assert plain.headers["ETag"].encode() not in head
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("accept", ["", "identity", "gzip;q=0", "br", "*;q=0, identity", "gzip;q=0, *"])
async def test_what_never_changes_is_sent_as_it_is_to_others(client, accept):
    raw = await _raw(client, DOCUMENT, accept)

    assert b"content-encoding" not in raw.partition(b"\r\n\r\n")[0]
    assert json.loads(raw.partition(b"\r\n\r\n")[2])["openapi"].startswith("3.1")


async def _raw(client, path, accept):
    async with bounded(client) as port:
        return await exchange(
            port, request("GET", path, headers=[("Accept-Encoding", accept), ("Connection", "close")])
        )
