"""`Onsale-Time` in every answer."""

from __future__ import annotations

import time

from tests.api.conftest import serving
from tests.api.server.wires import Wire, bounded
from tests.factories import make_event

SHOP = "https://shop.example.org"


def _now_ms():
    return time.time_ns() // 1_000_000


async def test_every_answer_has_the_time_at_which_it_was_given(client, clean, callers):
    event = await make_event(clean)
    buyer, path = await callers.attendee(), f"/api/v1/events/{event.id}"
    etag = (await client.get(path)).headers["ETag"]
    asked = {
        "framework": client.get(path),
        "unchanged": client.get(path, headers={"If-None-Match": etag}),
        "head": client.head(path),
        "fast path": buyer.book(str(event.id)),
        "refused": client.post("/api/v1/bookings"),
        "missing": client.get("/nowhere"),
        "preflight": client.options(path),
        "page": client.get("/"),
        "health": client.get("/health/live"),
    }

    for what, asking in asked.items():
        before_ms = _now_ms()
        answer = await asking
        assert before_ms <= int(answer.headers["Onsale-Time"]) <= _now_ms(), what


async def test_the_time_of_a_long_poll_is_that_of_its_answer(client, clean, callers):  # noqa: ARG001  (clean servers)
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    path = (await buyer.book(event["id"])).headers["Location"]
    before_ms = _now_ms()

    answer = await buyer.get(path, headers={"Prefer": "wait=1"})

    assert int(answer.headers["Onsale-Time"]) >= before_ms + 1_000


async def test_a_request_that_is_no_http_is_told_the_time(client):
    async with bounded(client) as port:
        wire, before_ms = Wire(port), _now_ms()
        reply = await wire.ask(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        wire.close()

    assert reply.status == 400
    assert before_ms <= int(reply.headers["onsale-time"]) <= _now_ms()


async def test_pages_of_other_origins_may_read_the_time(clean, unlimited):  # noqa: ARG001  (clean servers)
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        answer = await client.get("/api/v1/events", headers={"Origin": SHOP})

    assert "Onsale-Time" in answer.headers["Access-Control-Expose-Headers"]
