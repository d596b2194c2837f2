"""Slow readers are bounded in number and in time."""

from __future__ import annotations

import asyncio
import socket
import time
from itertools import pairwise
from uuid import uuid4

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from api.http import downloads
from api.http.downloads import Downloads
from api.http.server_scope import ABORT
from api.server import connection
from api.server.connection import BoundedProtocol
from domain.kernel.refusals import RateLimited, Unavailable
from tests.api.server.wires import HOST, hang_up, request
from tests.waiting import eventually

CSV = {"Accept": "text/csv"}

PART_S = 0.02
"""The time that a part takes in these tests."""


async def _endless(scope, receive, send):  # noqa: ARG001  (an ASGI application)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while (await _sent(send)) is None:
        pass


async def _sent(send):
    # Nothing is waited for once the reader has left.
    await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})


async def test_a_reader_that_takes_nothing_is_left(monkeypatch):
    monkeypatch.setattr(connection, "WRITE_S", 0.2)
    config = uvicorn.Config(_endless, ws="none", log_config=None)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    async with await loop.create_server(lambda: BoundedProtocol(config, state, {}), HOST, 0) as server:
        _, writer = await asyncio.open_connection(HOST, server.sockets[0].getsockname()[1], limit=1_024)
        writer.write(request("GET", "/"))
        await eventually(lambda: _open(state))

        await eventually(lambda: _open(state), is_so=lambda connections: not connections)

        await hang_up(writer)
        for task in state.tasks:
            task.cancel()


async def _open(state):
    return set(state.connections)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_what_a_reader_has_not_taken_is_not_sent_to_it_after_its_end(monkeypatch, new_loop):
    """Else the system keeps megabytes for it, and sends them for as long as it reads a little."""
    monkeypatch.setattr(connection, "WRITE_S", 0.2)
    with asyncio.Runner(loop_factory=new_loop) as runner, pytest.raises(ConnectionResetError):
        runner.run(_read_after_the_end())


async def _read_after_the_end():
    config = uvicorn.Config(_endless, ws="none", log_config=None)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    async with await loop.create_server(lambda: BoundedProtocol(config, state, {}), HOST, 0) as server:
        with socket.create_connection((HOST, server.sockets[0].getsockname()[1])) as reader:
            reader.sendall(request("GET", "/"))
            await eventually(lambda: _open(state))
            await eventually(lambda: _open(state), is_so=lambda connections: not connections)
            for task in state.tasks:
                task.cancel()
            while reader.recv(1 << 20):
                pass


async def test_an_account_has_few_downloads_at_once_and_a_process_a_bounded_number():
    under_way, account = Downloads(), uuid4()
    of_account = [under_way.begin({}, account) for _ in range(downloads.DOWNLOADS_PER_ACCOUNT_MAX)]
    with pytest.raises(RateLimited):
        under_way.begin({}, account)
    others = [under_way.begin({}, uuid4()) for _ in range(downloads.DOWNLOADS_MAX - len(of_account))]
    with pytest.raises(Unavailable):
        under_way.begin({}, uuid4())

    for download in (*of_account, *others):
        download.end()
        download.end()

    under_way.begin({}, account).end()


async def test_a_download_has_a_deadline(monkeypatch):
    monkeypatch.setattr(downloads, "DOWNLOAD_S_MAX", 0.05)
    under_way, account, aborted = Downloads(), uuid4(), asyncio.Event()
    under_way.begin({ABORT: aborted.set}, account)
    under_way.begin({}, account)

    await asyncio.wait_for(aborted.wait(), 30)

    under_way.begin({}, account).end()


class _Parts:
    """Parts of many files, each of which takes the loop for a while; and when they were made."""

    def __init__(self):
        self.at_once = self.at_once_max = 0
        self.times = []

    async def of_a_file(self):
        for _ in range(3):
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
            began = time.monotonic()
            await asyncio.sleep(0)
            time.sleep(PART_S)  # noqa: ASYNC251  (work of the loop's own)
            self.at_once -= 1
            self.times.append((began, time.monotonic()))
            yield b"guests"


async def test_files_are_made_part_by_part_and_others_are_served_between_two():
    under_way, made = Downloads(), _Parts()
    files = [under_way.begin({}, uuid4()).sent(made.of_a_file()) for _ in range(4)]

    async def took(file):
        return [part async for part in file]

    taken = await asyncio.gather(*map(took, files))

    assert taken == [[b"guests"] * 3] * 4
    assert made.at_once_max == 1
    rests = [began - ended for (_, ended), (began, _) in pairwise(made.times)]
    assert min(rests) >= PART_S * 0.9


async def test_a_file_whose_reader_left_lets_the_others_go_on():
    under_way, made = Downloads(), _Parts()
    left, other = (under_way.begin({}, uuid4()).sent(made.of_a_file()) for _ in range(2))
    waiting = asyncio.create_task(anext(left))
    await eventually(lambda: _made(made))

    waiting.cancel()

    assert [part async for part in other] == [b"guests"] * 3


async def _made(parts):
    return parts.times or parts.at_once


async def test_downloads_that_have_ended_do_not_count(callers):
    organizer = await callers.organizer()
    path = f"/api/v1/bookings/{(await organizer.make_event())['id']}"

    statuses = [(await organizer.get(path, headers=CSV)).status_code for _ in range(downloads.DOWNLOADS_MAX + 1)]

    assert set(statuses) == {200}


@pytest.mark.parametrize(("limit", "status"), [("DOWNLOADS_PER_ACCOUNT_MAX", 429), ("DOWNLOADS_MAX", 503)])
async def test_a_download_too_many_is_refused_and_a_page_is_not(callers, monkeypatch, limit, status):
    organizer = await callers.organizer()
    path = f"/api/v1/bookings/{(await organizer.make_event())['id']}"
    monkeypatch.setattr(downloads, limit, 0)

    file, page = await organizer.get(path, headers=CSV), await organizer.get(path)

    assert (file.status_code, page.status_code) == (status, 200)
    assert file.headers["Retry-After"] == "10"
