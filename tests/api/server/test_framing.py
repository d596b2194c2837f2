"""Framing of requests: trailers, chunks, upgrade offers, content codings, half-closed connections."""

from __future__ import annotations

import asyncio
import gzip
import json
from ipaddress import ip_network

import pytest

from tests.api.callers import PASSWORD
from tests.api.conftest import serving
from tests.api.server.wires import HOST, Wire, bounded, exchange, hang_up, request
from tests.waiting import eventually

LONG_POLL_S = 30

JSON = ("Content-Type", "application/json")
CHUNKED = ("Transfer-Encoding", "chunked")
UPGRADE_OFFERS = {
    "as Java's HttpClient offers it": [
        ("Connection", "Upgrade, HTTP2-Settings"),
        ("Upgrade", "h2c"),
        ("HTTP2-Settings", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"),
    ],
    "a WebSocket": [("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")],
    "TLS": [("Upgrade", "TLS/1.2"), ("Connection", "upgrade")],
}


def _chunks(*parts: bytes, trailer: bytes = b"", extension: bytes = b"") -> bytes:
    written = b"".join(b"%x%b\r\n%b\r\n" % (len(part), extension, part) for part in parts if part)
    return written + b"0\r\n" + trailer + b"\r\n"


def _signup(email: str) -> bytes:
    return json.dumps({"email": email, "password": PASSWORD}).encode()


@pytest.fixture
async def port(client):
    async with bounded(client) as port:
        yield port


@pytest.fixture
async def wire(port):
    wire = Wire(port)
    yield wire
    wire.close()


async def test_a_trailer_authenticates_nobody(wire, callers):
    buyer = await callers.attendee()
    trailer = f"Authorization: Bearer {buyer.access_token}\r\n".encode()

    reply = await wire.ask(
        request("POST", "/api/v1/bookings", headers=[JSON, CHUNKED]) + _chunks(b"{}", trailer=trailer)
    )

    assert (reply.status, reply.problem["code"]) == (401, "unauthenticated")


async def test_a_trailer_gives_no_key_to_a_booking(wire, callers):
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    by = ("Authorization", f"Bearer {buyer.access_token}")
    body = json.dumps({"event_id": event["id"]}).encode()
    asked = request("POST", "/api/v1/bookings", headers=[by, JSON, CHUNKED])

    made = [await wire.ask(asked + _chunks(body, trailer=b"Idempotency-Key: one\r\n")) for _ in range(2)]

    assert [reply.status for reply in made] == [202, 202]
    assert made[0].problem["id"] != made[1].problem["id"]


async def test_a_trailer_names_no_other_address_for_limits(clean, settings):  # noqa: ARG001  (clean servers)
    behind = settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.0/8"),)})
    statuses = []
    async with serving(behind) as client, bounded(client) as port:
        wire = Wire(port)
        for number in range(8):
            trailer = b"X-Forwarded-For: 198.51.100.%d\r\n" % number
            asked = request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED, ("X-Forwarded-For", "192.0.2.1")])
            reply = await wire.ask(asked + _chunks(_signup(f"a{number}@example.org"), trailer=trailer))
            statuses.append(reply.status)
        wire.close()

    assert statuses == [201] * 5 + [429] * 3


@pytest.mark.parametrize("fields", [1, 2_000])
async def test_a_trailer_has_a_bound(port, fields):
    """One long field or many: what is kept of it is bounded, and nobody is answered as if nothing were."""
    trailer = (b"A: " + b"x" * (400_000 // fields) + b"\r\n") * fields
    asked = request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED]) + _chunks(b"{}", trailer=trailer)

    received = await exchange(port, asked)

    assert received.startswith(b"HTTP/1.1 431 ")
    assert received.count(b"HTTP/1.1 ") == 1


async def test_an_endless_trailer_is_not_kept(port):
    """Refused while it still comes, however slowly it is told to end."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED]) + b"2\r\n{}\r\n0\r\nA: ")
    while not reader._buffer:
        writer.write(b"x" * 1_000)
        await asyncio.sleep(0)
        assert not writer.is_closing()

    assert (await reader.readline()).startswith(b"HTTP/1.1 431 ")
    await hang_up(writer)


@pytest.mark.parametrize("parts", [(b"{}",), tuple(b"{" + b" " * 98 + b"}")])
async def test_extensions_of_chunks_have_a_bound(port, parts):
    """Together, not each for itself."""
    parts = [bytes([part]) if isinstance(part, int) else part for part in parts]
    extension = b";a=" + b"x" * (100_000 // len(parts))
    asked = request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED]) + _chunks(*parts, extension=extension)

    assert (await exchange(port, asked)).startswith(b"HTTP/1.1 431 ")


async def test_a_body_in_chunks_of_one_byte_is_a_body(wire):
    """What one may send slowly, and some proxies do, with a small extension and a small trailer."""
    body = _signup("chunks@example.org")
    parts = [bytes([byte]) for byte in body]
    sent = _chunks(*parts, trailer=b"Digest: sha-256=x\r\n", extension=b";a=b")

    reply = await wire.ask(request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED]) + sent)

    assert reply.status == 201


async def test_the_largest_body_in_the_smallest_chunks_is_read(wire):
    body = _signup("large@example.org")
    body += b" " * (65_536 - len(body))
    sent = _chunks(*(bytes([byte]) for byte in body))

    reply = await wire.ask(request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED]) + sent)

    assert reply.status == 201


@pytest.mark.parametrize("offer", sorted(UPGRADE_OFFERS))
@pytest.mark.parametrize("framed", ["by its length", "in chunks"])
@pytest.mark.parametrize("apart", [False, True])
async def test_a_request_that_offers_an_upgrade_keeps_its_body(wire, offer, framed, apart):
    body = _signup("upgrade@example.org")
    chunked = framed == "in chunks"
    frame = CHUNKED if chunked else ("Content-Length", str(len(body)))
    head = request("POST", "/api/v1/auth/signup", headers=[JSON, frame, *UPGRADE_OFFERS[offer]])
    sent = _chunks(body) if chunked else body

    if apart:
        _, writer = wire._streams = list(await asyncio.open_connection(HOST, wire.port))
        writer.write(head)
        await writer.drain()
        await asyncio.sleep(0)
        reply = await wire.ask(sent)
    else:
        reply = await wire.ask(head + sent)
    next_reply = await wire.ask(request("GET", "/health/live"))

    assert (reply.status, reply.problem.get("email")) == (201, "upgrade@example.org")
    assert "upgrade" not in reply.headers
    assert next_reply.status == 200


async def test_a_request_without_a_body_that_offers_an_upgrade_is_answered(wire):
    sent = request("GET", "/health/live", headers=UPGRADE_OFFERS["as Java's HttpClient offers it"])

    replies = [await wire.ask(sent) for _ in range(3)]

    assert [reply.status for reply in replies] == [200] * 3


async def test_requests_sent_together_that_offer_an_upgrade_are_all_answered(port):
    offered = request("GET", "/health/live", headers=UPGRADE_OFFERS["a WebSocket"])
    last = request("GET", "/health/live", headers=[("Connection", "close")])

    received = await exchange(port, offered + offered + last)

    assert received.count(b"HTTP/1.1 200 ") == 3


CODINGS = {
    "gzip, chunked": 501,
    "identity, chunked": 501,
    "chunked;a=b": 501,
    "gzip": 400,
    "chunked, gzip": 400,
    "chunked, chunked": 400,
}


@pytest.mark.parametrize("coding", sorted(CODINGS))
async def test_a_transfer_coding_that_is_not_chunked_is_refused(port, coding):
    """RFC 9112, 6.1: 501 for one that is not known, 400 where it cannot be known where the body ends."""
    asked = request("POST", "/api/v1/auth/signup", headers=[JSON, ("Transfer-Encoding", coding)])

    received = await exchange(port, asked + _chunks(b"{}"))

    assert int(received.split(b" ")[1]) == CODINGS[coding]
    assert received.count(b"HTTP/1.1 ") == 1


async def test_two_fields_of_transfer_codings_are_one_list(port):
    asked = request("POST", "/api/v1/auth/signup", headers=[JSON, ("Transfer-Encoding", "gzip"), CHUNKED])

    assert (await exchange(port, asked + _chunks(b"{}"))).startswith(b"HTTP/1.1 501 ")


@pytest.mark.parametrize("path", ["/api/v1/auth/signup", "/api/v1/bookings"])
async def test_a_content_coding_is_refused(wire, callers, path):
    """On the framework's routes and on the fast path; the answer says which coding is accepted."""
    buyer = await callers.attendee()
    by = ("Authorization", f"Bearer {buyer.access_token}")
    body = gzip.compress(_signup("gzip@example.org"))

    reply = await wire.ask(request("POST", path, body=body, headers=[JSON, by, ("Content-Encoding", "gzip")]))
    plain = await wire.ask(request("POST", path, body=b"[", headers=[JSON, by, ("Content-Encoding", "identity")]))

    assert (reply.status, reply.problem["code"]) == (415, "unsupported_media_type")
    assert reply.headers["accept-encoding"] == "identity"
    assert plain.status == 400


EXPECTATIONS = {"100-continue": 201, "100-Continue": 201, "200-ok": 417, "100-continue, magic": 417, "magic=1": 417}


@pytest.mark.parametrize("expectation", sorted(EXPECTATIONS))
async def test_an_expectation_that_is_not_known_is_refused(port, expectation):
    asked = request(
        "POST",
        "/api/v1/auth/signup",
        body=_signup("expect@example.org"),
        headers=[JSON, ("Expect", expectation), ("Connection", "close")],
    )

    received = (await exchange(port, asked)).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")

    assert int(received.split(b" ")[1]) == EXPECTATIONS[expectation]
    assert received.count(b"HTTP/1.1 ") == 1


async def test_options_of_the_server_are_told(wire):
    """RFC 9110, 9.3.7: `*` is the server, not a path."""
    reply = await wire.ask(request("OPTIONS", "*"))
    other = await wire.ask(request("GET", "*"))

    assert reply.status == 204
    assert {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"} == set(reply.headers["allow"].split(", "))
    assert other.status == 400


async def test_a_caller_that_stops_sending_is_answered(port, callers):
    """A client may close its side once its request is sent (RFC 9112, 9.6: only both sides' end is the end)."""
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    by = ("Authorization", f"Bearer {buyer.access_token}")
    booking = request(
        "POST", "/api/v1/bookings", body=json.dumps({"event_id": event["id"]}).encode(), headers=[by, JSON]
    )
    events = request("GET", "/api/v1/events")

    for sent, statuses in ((booking, [202]), (events, [200]), (events + booking + events, [200, 202, 200])):
        received = await _half_closed(port, sent)

        assert [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]] == statuses


async def test_a_caller_that_stops_in_the_middle_of_a_request_is_gone(port):
    for sent in (b"", b"GET / HTT", request("POST", "/api/v1/auth/signup", headers=[JSON, CHUNKED]) + b"5\r\n{"):
        assert await _half_closed(port, sent) == b""


async def _half_closed(port, sent):
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(sent)
    writer.write_eof()
    received = await asyncio.wait_for(reader.read(), 30)
    await hang_up(writer)
    return received


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_long_poll_whose_caller_stops_sending_is_answered_at_once(port, callers, method):
    """It may have left: nobody waits for it, and what is known is told in case it has not."""
    sent, _ = await _long_poll(callers, method)

    received = await asyncio.wait_for(_half_closed(port, sent), LONG_POLL_S / 2)

    assert received.split(b" ")[1] == {"GET": b"200", "POST": b"202"}[method]
    assert json.loads(received.partition(b"\r\n\r\n")[2])["status"] == "pending"


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_long_poll_whose_caller_left_asks_redis_no_more(port, callers, method):
    sent, buyer = await _long_poll(callers, method)
    _, writer = await asyncio.open_connection(HOST, port)
    writer.write(sent)
    await eventually(_served)
    if method == "POST":
        await eventually(lambda: _bookings(buyer))

    await hang_up(writer)

    await eventually(_served, is_so=lambda served: not served, seconds=LONG_POLL_S / 2)


async def _long_poll(callers, method):
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    headers = [("Authorization", f"Bearer {buyer.access_token}"), ("Prefer", f"wait={LONG_POLL_S}"), JSON]
    if method == "POST":
        return request(
            method, "/api/v1/bookings", body=b'{"event_id": "%b"}' % event["id"].encode(), headers=headers
        ), buyer
    booked = await buyer.book(event["id"])
    return request(method, booked.headers["Location"], headers=headers), buyer


async def _served():
    """The requests under way behind sockets of this process."""
    return [task for task in asyncio.all_tasks() if "run_asgi" in task.get_coro().__qualname__]


async def _bookings(buyer):
    return (await buyer.get("/api/v1/bookings/my-bookings")).json()["items"]


async def test_an_answer_in_full_is_the_only_one(port):
    """Refused before its body was read, and the body never came: the connection ends, without a second answer."""
    asked = request("POST", "/nowhere", headers=[JSON, ("Content-Length", "9"), ("Connection", "close")])

    received = await _half_closed(port, asked)

    assert received.count(b"HTTP/1.1 ") <= 1
