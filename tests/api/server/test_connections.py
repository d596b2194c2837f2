"""A real API process on a real socket: slow, silent and oversized callers, and its end."""

from __future__ import annotations

import asyncio
import json
import signal
import time

import httpx
import pytest

from api.server.connection import PATIENCE_S, Phase
from tests.api.server.wires import HOST, bounded, hang_up
from tests.waiting import eventually

NO_HEADERS = [
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 101 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 33_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000, 431),
    (b"GET /" + b"x" * 9_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
    (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    (b"hello\r\n\r\n", 400),
]


@pytest.fixture
def api(clean, processes):  # noqa: ARG001  (clean servers)
    return processes.api(RATE_LIMITS="off")


async def _exchange(url, sent, *, patience_s=20.0):
    """Send bytes and read until the other side closes; answers what came and after how long."""
    reader, writer = await asyncio.open_connection(HOST, httpx.URL(url).port)
    began = time.monotonic()
    try:
        writer.write(sent)
        received = await asyncio.wait_for(reader.read(), patience_s)
    finally:
        await hang_up(writer)
    return received, time.monotonic() - began


def _status(received):
    return int(received.split(b" ", 2)[1])


async def test_what_is_no_proper_header_is_a_problem(api):
    """S20: bounds of the header."""
    for sent, status in NO_HEADERS:
        received, _ = await _exchange(api.url, sent)

        head, _, body = received.partition(b"\r\n\r\n")
        assert _status(received) == status
        assert b"application/problem+json" in head
        assert json.loads(body)["status"] == status


async def test_callers_who_do_not_finish_are_sent_away(client, monkeypatch):
    """S20: deadlines for header and body."""
    for phase in (Phase.NEW, Phase.HEADER, Phase.BODY):
        monkeypatch.setitem(PATIENCE_S, phase, 0.3)
    bodiless_request = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"
    async with bounded(client) as port:
        url = f"http://{HOST}:{port}"
        silent, _ = await _exchange(url, b"")
        half, _ = await _exchange(url, b"GET / HTTP/1.1\r\nHost")
        bodiless, _ = await _exchange(url, bodiless_request)

    assert silent == b""
    assert _status(half) == 408
    assert _status(bodiless) == 408


async def test_a_connection_serves_many_requests(api):
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        answers = [await client.get("/health/live") for _ in range(50)]

    assert {answer.status_code for answer in answers} == {200}
    assert "server" not in answers[0].headers


async def test_sigterm_answers_what_is_under_way(api, callers):
    organizer = await callers.organizer()
    event = await organizer.make_event()
    buyer = await callers.attendee()
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        there = buyer.through(client)
        waiting = asyncio.create_task(there.book(event["id"], Prefer="wait=2"))
        await eventually(lambda: _bookings(buyer))

        api.signal(signal.SIGTERM)
        answer = await waiting

    assert answer.status_code == 202
    assert (await buyer.get(answer.headers["Location"])).json()["status"] == "pending"


async def _bookings(buyer):
    return (await buyer.get("/api/v1/bookings/my-bookings")).json()["items"]
