"""The generator sends the requests, counts the answers, and times them as a buyer would."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextlib import contextmanager
from itertools import repeat
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import uvloop

from loadtests.bench.cases.pages import BLOCK, List, walk
from loadtests.bench.load.client import ask_all
from loadtests.bench.load.generator import LoadResult, Unexpected, ask_at, check_all, fire
from loadtests.bench.load.requests import request
from loadtests.bench.stack import cpu_seconds
from loadtests.sales.target import TargetRefused

if TYPE_CHECKING:
    from collections.abc import Iterator

STALL_S = 0.3
SLOW_S = 0.002


class Answering(asyncio.Protocol):
    """Answers with the status that stands in the path; `/stall` holds up the whole server."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1]
        if path == b"/stall":
            # As a busy event loop does.
            threading.Event().wait(STALL_S)
        status = b"202" if path == b"/stall" else path[1:]
        head = b"HTTP/1.1 " + status + b' Said\r\nETag: "' + status + b'"\r\n'
        self.transport.write(head + (b"\r\n" if status == b"304" else b"content-length: 2\r\n\r\n{}"))


PAGES = 300


class Listing(asyncio.Protocol):
    """A list of PAGES pages, each named by its cursor; those after the first hundred take their time."""

    asked: ClassVar[list[int]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        query = parse_qs(urlsplit(data.split(b" ", 2)[1].decode()).query)
        number = int(query.get("cursor", ["0"])[0])
        self.asked.append(number)
        if number >= BLOCK:
            threading.Event().wait(SLOW_S)
        after = f'"{number + 1}"' if number + 1 < PAGES else "null"
        body = f'{{"items": [], "next_cursor": {after}}}'.encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))


@contextmanager
def answering(protocol: type[asyncio.Protocol] = Answering) -> Iterator[str]:
    """A server in a thread of its own; its URL."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_each_request_is_sent_once() -> None:
    asked = [request("GET", "/202"), request("GET", "/409"), *[request("POST", "/202", body={"a": 1})] * 98]

    with answering() as url:
        answered = fire(url, asked, connections=8, seconds=1)

    assert answered.statuses == {202: 99, 409: 1}
    assert answered.broken == 0


def test_requests_that_repeat_do_until_the_time_is_over() -> None:
    with answering() as url:
        answered = fire(url, repeat(request("GET", "/304")), connections=2, seconds=1)

    assert answered.statuses.keys() == {304}
    assert answered.count > 100
    assert 0.5 < answered.seconds < 3


@pytest.mark.parametrize("statuses", [{202: 10, 500: 1}, {409: 10}, {}])
def test_an_answer_that_is_not_the_cases_is_worth_nothing(statuses) -> None:
    answered = LoadResult(statuses=statuses, seconds=1.0, p50_ms=1.0, p99_ms=1.0)

    with pytest.raises(Unexpected, match="expected 202 only"):
        check_all(answered, expected=202, what="bookings")


def test_neither_is_one_with_broken_connections() -> None:
    answered = LoadResult(statuses={202: 10}, seconds=1.0, p50_ms=1.0, p99_ms=1.0, broken=1)

    with pytest.raises(Unexpected, match="1 broken"):
        check_all(answered, expected=202, what="bookings")


def test_no_other_machine_is_asked() -> None:
    with pytest.raises(TargetRefused):
        fire("http://192.0.2.1:8000", [b""], connections=1, seconds=1)


def test_replies_come_in_the_order_of_requests() -> None:
    statuses = [200, 404, 304, 202] * 5

    with answering() as url:
        replies = uvloop.run(ask_all(url, [request("GET", f"/{status}") for status in statuses], connections=3))

    assert [reply.status for reply in replies] == statuses
    assert replies[1].field(b"etag") == '"404"'


def test_a_request_that_could_not_be_sent_in_time_counts_from_when_it_was_due() -> None:
    """Whoever waits behind a stalled server has waited, whether or not the generator got round to asking."""
    asked = [request("GET", "/stall"), *[request("GET", "/202")] * 20]

    with answering() as url:
        answered = uvloop.run(ask_at(url, asked, per_second=200))

    assert answered.statuses == {202: 21}
    assert answered.p50_ms > STALL_S * 1000 / 2


def test_the_last_pages_of_a_list_are_compared_with_the_first_in_turns(monkeypatch) -> None:
    """The machine may have another speed by the time the last one is reached."""
    monkeypatch.setattr(Listing, "asked", [])
    with answering(Listing) as url:
        found = walk(url, List("a list", "/list", 10, "token"), pages=PAGES)
    in_turns = [number for pair in zip(range(BLOCK), range(PAGES - BLOCK, PAGES), strict=True) for number in pair]
    assert Listing.asked == [*range(PAGES), *in_turns]
    assert len(found.block_ms) == PAGES // BLOCK
    assert found.last_ms >= SLOW_S * 1000
    assert found.first_to_last == found.first_ms / found.last_ms


def test_a_list_that_ends_too_early_is_no_figure(monkeypatch) -> None:
    monkeypatch.setattr(Listing, "asked", [])
    with answering(Listing) as url, pytest.raises(Unexpected, match="has 300 pages, not 301"):
        walk(url, List("a list", "/list", 10, "token"), pages=PAGES + 1)


def test_cpu_time_is_counted_with_children_that_have_ended() -> None:
    burn = "import time\nuntil = time.process_time() + 0.2\nwhile time.process_time() < until: pass"
    parent = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()

        used_s = cpu_seconds(process.pid)

        process.communicate(b"\n")
    assert 0.2 <= used_s < 2
