"""Answers over a real socket: one write for each, with the same fields as an answer in several writes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import httpx
import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from api.server import connection
from api.server.connection import BoundedProtocol
from api.server.write_batch import WriteBatch, write_batch_of, write_whole
from tests.api.conftest import serving
from tests.api.server.wires import HOST, ended, hang_up

SHOP = "https://shop.example.org"

OF_THE_SERVER = {"date", "x-request-id", "onsale-time"}
"""Fields that a server adds, or that differ from answer to answer."""


@pytest.fixture
def written(monkeypatch):
    """Whether each answer that could be was written in one piece."""
    found = []

    def noting(*arguments):
        found.append(write_whole(*arguments))
        return found[-1]

    monkeypatch.setattr(connection, "write_whole", noting)
    return found


@asynccontextmanager
async def _on_a_socket(client):
    """The client's application behind a socket of this process."""
    config = uvicorn.Config(client._transport.app, ws="none", log_config=None)
    config.load()
    state = ServerState()
    state.default_headers = [(b"date", b"today")]
    loop = asyncio.get_running_loop()
    async with (
        await loop.create_server(lambda: BoundedProtocol(config, state, {}), HOST, 0) as server,
        httpx.AsyncClient(base_url=f"http://{HOST}:{server.sockets[0].getsockname()[1]}") as there,
    ):
        yield there
    await ended(state)


async def _sale(callers):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    return await organizer.make_event(capacity=1), buyer


async def test_what_everybody_asks_at_once_is_answered_with_one_write(client, callers, written):
    event, buyer = await _sale(callers)
    async with _on_a_socket(client) as socket:
        there = buyer.through(socket)
        booked = await there.book(event["id"])
        again = await there.get(booked.headers["Location"])
        unchanged = await there.get(booked.headers["Location"], headers={"If-None-Match": again.headers["ETag"]})
        refused = await (await callers.attendee()).through(socket).book(event["id"])

    assert [answer.status_code for answer in (booked, again, unchanged, refused)] == [202, 200, 304, 409]
    assert written == [True] * 4


async def test_one_write_says_what_two_would(client, callers):
    event, buyer = await _sale(callers)
    booked = await buyer.book(event["id"])
    async with _on_a_socket(client) as socket:
        for headers in ({}, {"If-None-Match": booked.headers["ETag"]}, {"Authorization": "Bearer none"}):
            here = await buyer.get(booked.headers["Location"], headers=headers)
            there = await buyer.through(socket).get(booked.headers["Location"], headers=headers)

            assert (there.status_code, _kept(there)) == (here.status_code, _kept(here))
            assert there.headers["Date"] == "today"


def _kept(answer):
    return {name: value for name, value in answer.headers.items() if name not in OF_THE_SERVER}


async def test_a_head_has_the_fields_of_a_get_and_nothing_more(client, callers):
    event, buyer = await _sale(callers)
    booked = await buyer.book(event["id"])
    async with _on_a_socket(client) as socket:
        there = buyer.through(socket)
        got = await there.get(booked.headers["Location"])
        head = await there.call("HEAD", booked.headers["Location"])
        after = await there.get(booked.headers["Location"])

    assert (head.content, _kept(head)) == (b"", _kept(got))
    assert after.json() == got.json()


async def test_a_caller_that_wants_the_connection_closed_sees_it_closed(client, callers):
    event, buyer = await _sale(callers)
    async with _on_a_socket(client) as socket:
        answer = await buyer.through(socket).book(event["id"], Connection="close")

        assert answer.headers["Connection"] == "close"
        assert answer.json()["status"] == "pending"


async def test_requests_sent_together_are_answered_in_their_order(client, callers):
    event, buyer = await _sale(callers)
    booked = await buyer.book(event["id"])
    ask = f"GET {booked.headers['Location']} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {buyer.access_token}\r\n"
    async with _on_a_socket(client) as socket:
        reader, writer = await asyncio.open_connection(HOST, socket.base_url.port)
        writer.write(b"".join(f"{ask}X-Request-Id: {name}\r\n\r\n".encode() for name in ("first", "second", "third")))
        ids = [await _request_id(reader) for _ in range(3)]
        await hang_up(writer)

    assert ids == [b"first", b"second", b"third"]


class Wire:
    """Notes what is written to a connection."""

    def __init__(self, notes, name=""):
        self._notes = notes
        self._name = name

    def is_closing(self):
        return False

    def write(self, answer):
        self._notes.append(self._name + answer.decode())


async def test_answers_of_one_turn_leave_together_at_its_end_in_their_order():
    notes, outbox = [], write_batch_of(asyncio.get_running_loop())
    one, other = Wire(notes, "one "), Wire(notes, "other ")
    outbox.put(one, b"1")
    outbox.put(other, b"2")
    outbox.put(one, b"3")
    at_once = list(notes)
    await asyncio.sleep(0)
    after_a_turn = list(notes)
    outbox.put(other, b"4")
    await asyncio.sleep(0)

    assert at_once == []
    assert after_a_turn == ["one 1", "other 2", "one 3"]
    assert notes == [*after_a_turn, "other 4"]


def test_who_has_left_takes_no_answer_of_others_along():
    async def leave_and_stay():
        made = asyncio.Queue()

        class Noted(asyncio.Protocol):
            def connection_made(self, transport):
                made.put_nowait(transport)

        async with await asyncio.get_running_loop().create_server(Noted, HOST, 0) as server:
            address = server.sockets[0].getsockname()
            (_, leaving), gone = await asyncio.open_connection(*address), await made.get()
            (reader, staying), here = await asyncio.open_connection(*address), await made.get()
            gone.abort()
            await asyncio.sleep(0)
            outbox = write_batch_of(asyncio.get_running_loop())
            outbox.put(gone, b"1")
            outbox.put(here, b"2")
            try:
                async with asyncio.timeout(30):
                    return await reader.readexactly(1)
            finally:
                await hang_up(leaving)
                await hang_up(staying)

    # The loop that serves raises where asyncio's own is silent.
    assert uvloop.run(leave_and_stay()) == b"2"


@pytest.mark.parametrize("ending", [lambda it: it.shutdown(), lambda it: it.send_400_response("no HTTP")])
async def test_an_answer_on_its_way_goes_before_the_end_of_its_connection(ending):
    config = uvicorn.Config(None, log_config=None)
    config.load()
    served, loop = asyncio.Queue(), asyncio.get_running_loop()

    class Noted(BoundedProtocol):
        def connection_made(self, transport):
            super().connection_made(transport)
            served.put_nowait(self)

    async with await loop.create_server(lambda: Noted(config, ServerState(), {}), HOST, 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        connection = await served.get()
        write_batch_of(loop).put(connection.transport, b"an answer")
        ending(connection)
        received = await reader.read()
        await hang_up(writer)

    assert received.startswith(b"an answer")


async def _request_id(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    await reader.readexactly(int(fields[b"content-length"]))
    return fields[b"x-request-id"]


async def test_a_page_of_a_named_origin_may_read_what_the_fast_path_answers(clean, unlimited):  # noqa: ARG001
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        answer = await client.post("/api/v1/bookings", json={}, headers={"Origin": SHOP})

    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == SHOP
    assert "WWW-Authenticate" in answer.headers


def _cycle(**differing):
    """A request of uvicorn's that waits for its answer, as far as it is looked at."""
    flow = SimpleNamespace(write_paused=differing.pop("write_paused", False))
    state = {"response_started": False, "disconnected": False, "keep_alive": True, "default_headers": [], "flow": flow}
    return SimpleNamespace(**state | differing)


@pytest.mark.parametrize("differing", [{"write_paused": True}, {"disconnected": True}, {"response_started": True}])
def test_an_answer_that_cannot_be_written_now_is_left_alone(differing):
    assert write_whole(_cycle(**differing), WriteBatch(), 200, [], b"", b"") is False


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b", b"a\nb", b"a\rb"])
def test_no_field_of_an_answer_can_become_two(value):
    with pytest.raises(ValueError, match="line break"):
        write_whole(_cycle(), WriteBatch(), 200, [(b"etag", value)], b"", b"")
