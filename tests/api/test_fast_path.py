"""The routes of the fast path: the framework's router never serves them, however a request is spelled."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from litestar import Litestar, get
from msgspec import structs

from api.access.declarations import ANYONE, EVERYBODY, UNLIMITED, Undeclared, access
from api.fast_path import FastPath, FastRequest
from domain.accounts.accounts import Role
from domain.kernel.bookings import Booking, BookingStatus, Reservation
from tests.api.conftest import serving

ELSEWHERE = {"Origin": "https://elsewhere.example.org"}
"""A page of another origin."""

OF_ONE_ANSWER = {"x-request-id", "onsale-time", "ratelimit"}
"""Fields in which two answers to the same request differ."""


@pytest.fixture
def routed(monkeypatch):
    """The paths of the requests that were passed to the framework."""
    found, call = [], Litestar.__call__

    async def noting(self, scope, receive, send):
        if scope["type"] == "http":
            found.append(scope["path"])
        await call(self, scope, receive, send)

    monkeypatch.setattr(Litestar, "__call__", noting)
    return found


def _said(answer):
    body = answer.json() if answer.content else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "instance"}
    fields = {name: value for name, value in answer.headers.items() if name not in OF_ONE_ANSWER}
    return answer.status_code, fields, body


async def _every_way(routed, caller, method, path, *, headers=None, **options):
    """The one answer to a request: plain, from a page of another origin, and with another spelling of its path."""
    routed.clear()
    answers = []
    for asked, origin in ((path, {}), (path, ELSEWHERE), (f"{path}/", {}), (path.replace("/v1", "//v1"), {})):
        content = {"content": _chunks()} if options.get("content") == "chunks" else {}
        answer = await caller.call(method, asked, headers=(headers or {}) | origin, **options | content)
        answers.append(_said(answer))
    assert routed == []
    assert all(each == answers[0] for each in answers)
    return answers[0]


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


LIKE_ANY_BODY = ["no JSON", "no body", "another media type", "an announced body too large", "a body too large"]


@pytest.mark.parametrize("asked", sorted(ASKED))
async def test_a_refused_order_is_answered_alike_however_it_is_sent(callers, routed, asked):
    event = await (await callers.organizer()).make_event(capacity=1)
    assert (await (await callers.attendee()).book(event["id"])).status_code == 202
    buyer, options = await callers.attendee(), dict(ASKED[asked])
    if asked == "sold out":
        options["json"] = {"event_id": event["id"], "quantity": 1}

    status, _, _ = await _every_way(routed, buyer, "POST", "/api/v1/bookings", **options)

    assert status >= 400


@pytest.mark.parametrize("asked", [*LIKE_ANY_BODY, "no token"])
async def test_a_request_that_is_wrong_is_answered_as_by_routes_of_the_framework(callers, routed, asked):
    admin, options = await callers.admin(), dict(ASKED[asked])
    answers = []
    for path in ("/api/v1/bookings", "/api/v1/events"):
        content = {"content": _chunks()} if options.get("content") == "chunks" else {}
        answers.append(_said(await admin.call("POST", path, **options | content)))

    assert answers[0] == answers[1]
    assert routed[-1:] == ["/api/v1/events"]


@pytest.mark.parametrize("headers", [{}, {"If-None-Match": "*"}, {"Prefer": "wait=1"}, {"Authorization": "none"}])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_poll_is_answered_alike_however_it_is_sent(callers, routed, method, headers):
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    booked = await buyer.book(event["id"])

    status, _, _ = await _every_way(routed, buyer, method, booked.headers["Location"], headers=headers)

    assert status == {"If-None-Match": 304, "Authorization": 401}.get(next(iter(headers), ""), 200)


async def test_a_booking_that_nobody_has_is_answered_alike(callers, routed):
    buyer = await callers.attendee()

    status, _, _ = await _every_way(routed, buyer, "GET", f"/api/v1/bookings/{uuid4()}/status")

    assert status == 404


async def test_every_spelling_of_a_path_leads_to_the_same_booking(callers, routed):
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    booked = (await buyer.book(event["id"])).json()
    path, booking_id = f"/api/v1/bookings/{booked['id']}/status", booked["id"]
    others = [
        f"{path}/",
        path.replace("/status", "//status"),
        path.replace("-", ""),
        path.replace(booking_id, booking_id.upper()),
        path.replace(booking_id, f"{{{booking_id}}}"),
    ]
    routed.clear()

    shown = [(await buyer.get(each)).json() for each in (path, *others)]

    assert [each["id"] for each in shown] == [booking_id] * 6
    assert routed == []


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


async def test_every_spelling_is_one_route_in_the_metrics(callers, client):
    buyer = await callers.attendee()
    path = f"/api/v1/bookings/{uuid4()}/status"
    await buyer.get(path)
    before = _counted((await client.get("/metrics")).text)
    await buyer.get(path)
    plain = _counted((await client.get("/metrics")).text)
    await buyer.get(f"{path}/")
    otherwise = _counted((await client.get("/metrics")).text)

    assert (plain - before, otherwise - plain) == (1, 1)


def _counted(metrics):
    label = 'route="/api/v1/bookings/{booking_id}/status"'
    lines = [line for line in metrics.splitlines() if label in line and 'status="404"' in line]
    return sum(float(line.rpartition(" ")[2]) for line in lines if "_total" in line)


async def test_a_fault_is_answered_as_a_problem(callers, routed, monkeypatch):
    buyer = await callers.attendee()
    routed.clear()

    async def fails(self, ask, booking_id):  # noqa: ARG001  (as the method has them)
        raise ZeroDivisionError

    monkeypatch.setattr("domain.actions.bookings.BoxOffice.look", fails)
    answer = await buyer.get(f"/api/v1/bookings/{uuid4()}/status")

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert routed == []


async def test_an_answer_without_an_admission_is_a_fault(callers, monkeypatch):
    """Session and limit are checked by the engine's first call: a handler that makes none must not answer."""
    buyer = await callers.attendee()

    async def reserves_without_asking(self, ask, order):  # noqa: ARG001  (as the method has them)
        booking = Booking(
            id=uuid4(),
            event_id=order.event_id,
            user_id=ask.account_id,
            quantity=order.quantity,
            status=BookingStatus.PENDING,
            version=1,
            created_at=datetime.now(UTC),
        )
        return Reservation(booking, replayed=False)

    monkeypatch.setattr("domain.actions.bookings.BoxOffice.reserve", reserves_without_asking)
    answer = await buyer.book(str(uuid4()))

    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")


@pytest.mark.parametrize(
    "declared",
    [access(ANYONE), access(EVERYBODY, limit=UNLIMITED), access(EVERYBODY, per_session=True)],
)
def test_a_route_that_the_fast_path_cannot_admit_does_not_start(declared):
    @get("/hot", request_class=FastRequest, **declared)
    async def hot(request: FastRequest) -> None:
        """Asks for what the fast path does not check."""

    with pytest.raises(Undeclared, match="/hot"):
        FastPath(Litestar([hot], logging_config=None))


async def test_a_role_that_may_not_call_is_refused_for_that_whatever_its_body_is(callers, settings):
    """No route of the fast path is closed to a role today."""
    attendee = await callers.attendee()
    async with serving(settings) as there:
        fast = there._transport.app
        while not isinstance(fast, FastPath):
            fast = fast.app
        for route in fast._routes["POST"]:
            route.access = structs.replace(route.access, roles=frozenset({Role.ADMIN}))

        answers = [
            await attendee.through(there).call("POST", "/api/v1/bookings", content=content)
            for content in (b"{", b"x" * 70_000, b'{"event_id": 5}')
        ]

    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(403, "forbidden")}
