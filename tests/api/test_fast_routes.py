"""The way past the framework's router: whoever takes it is answered as on the framework's own way."""

from __future__ import annotations

from uuid import uuid4

import pytest

from api.fast_routes import Express
from tests.api.conftest import serving

ELSEWHERE = {"Origin": "https://elsewhere.example.org"}
"""A page of another origin: its requests take the fast path as well."""

OF_ONE_ANSWER = {"x-request-id", "ratelimit"}
"""Fields in which two answers to the same question differ."""


@pytest.fixture
def routed(monkeypatch):
    """The paths of the requests that the framework's router had to find."""
    found = []

    async def noting(self, scope, receive, send):
        if scope["type"] == "http" and not await self._answered(scope, receive):
            found.append(scope["path"])
        if scope["type"] != "http" or found[-1:] == [scope["path"]]:
            await self.app(scope, receive, send)

    monkeypatch.setattr(Express, "__call__", noting)
    return found


def _said(answer):
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "instance"}
    fields = {name: value for name, value in answer.headers.items() if name not in OF_ONE_ANSWER}
    return answer.status_code, fields, body


async def _both_ways(routed, caller, method, path, *, headers=None, **options):
    """The answers of both ways to the same question; each went its way."""
    headers = headers or {}
    express = await caller.call(method, path, headers=headers, **options)
    assert routed == []
    from_elsewhere = await caller.call(method, path, headers=headers | ELSEWHERE, **options)
    assert routed == []
    framework = await caller.call(method, f"{path}/", headers=headers, **options)
    assert routed == [f"{path}/"]
    routed.clear()
    assert _said(from_elsewhere) == _said(express)
    return _said(express), _said(framework)


async def _chunks():
    for _ in range(70):
        yield b" " * 1_000


ASKED = {
    "sold out": {"json": {"event_id": "", "quantity": 1}},
    "no such event": {"json": {"event_id": str(uuid4()), "quantity": 1}},
    "a broken rule": {"json": {"event_id": str(uuid4()), "quantity": 0}},
    "no JSON": {"content": b"{", "headers": {"Content-Type": "application/json"}},
    "no body": {},
    "another media type": {"content": b"a=b", "headers": {"Content-Type": "text/plain"}},
    "an announced body too large": {"content": b" " * 70_000, "headers": {"Content-Type": "application/json"}},
    "a body too large": {"content": "chunks", "headers": {"Content-Type": "application/json"}},
    "two keys": {"json": {}, "headers": {"Idempotency-Key": "a b"}},
    "no token": {"json": {}, "headers": {"Authorization": "Bearer none"}},
}


@pytest.mark.parametrize("asked", sorted(ASKED))
async def test_who_asks_for_places_is_answered_as_on_the_frameworks_way(callers, routed, asked):
    event = await (await callers.organizer()).make_event(capacity=1)
    assert (await (await callers.attendee()).book(event["id"])).status_code == 202
    buyer, options = await callers.attendee(), dict(ASKED[asked])
    if asked == "sold out":
        options["json"] = {"event_id": event["id"], "quantity": 1}
    routed.clear()

    answers = []
    for path, origin in (("/api/v1/bookings", {}), ("/api/v1/bookings", ELSEWHERE), ("/api/v1/bookings/", {})):
        content = {"content": _chunks()} if options.get("content") == "chunks" else {}
        sent = options | content | {"headers": options.get("headers", {}) | origin}
        answers.append(_said(await buyer.call("POST", path, **sent)))

    assert routed == ["/api/v1/bookings/"]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0][0] >= 400


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"Prefer": "wait=1"}, {"Authorization": "none"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_who_polls_is_answered_as_on_the_frameworks_way(callers, routed, method, headers):
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    booked = await buyer.book(event["id"])
    routed.clear()

    express, framework = await _both_ways(routed, buyer, method, booked.headers["Location"], headers=headers)

    assert express == framework


async def test_a_booking_nobody_has_is_answered_as_on_the_frameworks_way(callers, routed):
    buyer = await callers.attendee()
    routed.clear()

    express, framework = await _both_ways(routed, buyer, "GET", f"/api/v1/bookings/{uuid4()}/status")

    assert express == framework
    assert express[0] == 404


async def test_a_path_spelled_otherwise_leads_to_the_same_booking(callers, routed):
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    booked = (await buyer.book(event["id"])).json()
    path = f"/api/v1/bookings/{booked['id']}/status"
    others = [f"{path}/", path.replace("/status", "//status"), path.replace("-", "")]
    routed.clear()

    shown = [
        (await buyer.get(each)).json() for each in (path, path.replace(booked["id"], booked["id"].upper()), *others)
    ]

    assert [each["id"] for each in shown] == [booked["id"]] * 5
    assert routed == others


@pytest.mark.parametrize("path", ["/api/v1/bookings/" + "x" * 36 + "/status", "/api/v1/bookings/1/status"])
async def test_what_is_no_id_is_nothing(callers, routed, path):
    buyer = await callers.attendee()
    routed.clear()

    answer = await buyer.get(path)

    assert (answer.status_code, answer.json()["code"], routed) == (404, "not_found", [path])


async def test_a_stream_is_counted_once(callers, clean, settings):  # noqa: ARG001  (clean servers)
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    booked = await buyer.book(event["id"])
    await buyer.delete(f"/api/v1/bookings/{booked.json()['id']}")
    async with serving(settings) as client:
        there = buyer.through(client)
        streamed = await there.get(booked.headers["Location"], headers={"Accept": "text/event-stream"})
        polled = await there.get(booked.headers["Location"])

    assert streamed.headers["Content-Type"].startswith("text/event-stream")
    assert _left(polled) == _left(streamed) - 1


def _left(answer):
    return int(answer.headers["RateLimit"].partition("r=")[2].partition(";")[0])


async def test_both_ways_are_one_route_in_the_metrics(callers, client):
    buyer = await callers.attendee()
    path = f"/api/v1/bookings/{uuid4()}/status"
    await buyer.get(path)
    before = _counted((await client.get("/metrics")).text)
    await buyer.get(path)
    express = _counted((await client.get("/metrics")).text)
    await buyer.get(f"{path}/")
    framework = _counted((await client.get("/metrics")).text)

    assert (express - before, framework - express) == (1, 1)


def _counted(metrics):
    label = 'route="/api/v1/bookings/{booking_id}/status"'
    lines = [line for line in metrics.splitlines() if label in line and 'status="404"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines if "_total" in line)


async def test_a_fault_is_answered_and_logged_once(callers, routed, monkeypatch):
    buyer = await callers.attendee()
    routed.clear()

    async def fails(self, lane, receive):  # noqa: ARG001  (as the method has them)
        raise ZeroDivisionError

    monkeypatch.setattr("api.access.authentication.Visit.answer", fails)
    answer = await buyer.get(f"/api/v1/bookings/{uuid4()}/status")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
