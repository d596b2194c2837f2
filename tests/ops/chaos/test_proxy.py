"""Each way to break the network does what it says, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from ops.chaos.stack.proxy import Proxy
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[Proxy], Awaitable[Connection]]

SOON_SECONDS = 0.2
"""Bytes that have not arrived by then do not arrive."""

HEALED_SECONDS_MAX = 30.0
"""Bytes that take this long, even on a busy machine, are still delayed."""

BIG = b"x" * 3_000_000
"""More than all buffers on the way hold."""


@pytest.fixture
async def heard() -> list[bytes]:
    """The bytes that reached the server."""
    return []


@pytest.fixture
async def proxy(tmp_path: Path, heard: list[bytes]) -> AsyncIterator[Proxy]:
    """A proxy before a server that sends back all bytes."""
    serving: list[asyncio.Task[None] | None] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with suppress(OSError):
            while data := await reader.read(65_536):
                heard.append(data)
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_unix_server(echo, tmp_path / "server")
    proxy = Proxy(tmp_path / "net" / "proxy", tmp_path / "server")
    await proxy.open()
    yield proxy
    await proxy.close()
    server.close()
    await asyncio.gather(*filter(None, serving))


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Makes connections that are closed after the test."""
    made: list[Connection] = []

    async def connect(proxy: Proxy) -> Connection:
        made.append(await asyncio.open_unix_connection(proxy.path))
        return made[-1]

    yield connect
    for _, writer in made:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask(connection: Connection, question: bytes = b"hello") -> bytes:
    """The answer, b"" if the connection is cut."""
    reader, writer = connection
    writer.write(question)
    try:
        return await reader.readexactly(len(question))
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def is_silent(connection: Connection, question: bytes = b"hello") -> bool:
    try:
        await asyncio.wait_for(ask(connection, question), SOON_SECONDS)
    except TimeoutError:
        return True
    return False


async def test_bytes_pass_both_ways(proxy: Proxy, connect: Connect) -> None:
    connection = await connect(proxy)

    assert await ask(connection) == b"hello"
    assert await ask(connection, BIG) == BIG


async def test_what_is_stalled_arrives_later_and_whole(proxy: Proxy, connect: Connect, heard: list[bytes]) -> None:
    connection = await connect(proxy)
    await ask(connection)

    proxy.stall()
    late = asyncio.create_task(ask(connection, BIG))
    await asyncio.sleep(SOON_SECONDS)
    assert heard == [b"hello"]
    proxy.resume()

    assert await late == BIG


async def test_a_connection_can_be_made_to_a_stalled_network(proxy: Proxy, connect: Connect) -> None:
    proxy.stall()
    connection = await connect(proxy)
    assert await is_silent(connection)

    proxy.resume()

    assert await asyncio.wait_for(connection[0].readexactly(5), 5) == b"hello"


async def test_a_cut_resets_every_connection_and_no_later_one(proxy: Proxy, connect: Connect) -> None:
    first, second = await connect(proxy), await connect(proxy)
    await ask(first)
    await ask(second)

    assert proxy.cut() == 2

    assert await ask(first) == b""
    assert await ask(second) == b""
    assert await ask(await connect(proxy)) == b"hello"


async def test_a_refusing_network_takes_no_connection_until_it_accepts(proxy: Proxy, connect: Connect) -> None:
    before = await connect(proxy)
    await ask(before)

    proxy.refuse()

    assert await ask(before) == b""
    assert await ask(await connect(proxy)) == b""
    proxy.accept()
    assert await ask(await connect(proxy)) == b"hello"


async def test_a_half_open_connection_tells_neither_end(proxy: Proxy, connect: Connect, heard: list[bytes]) -> None:
    connection = await connect(proxy)
    await ask(connection)

    assert proxy.silence() == 1

    assert await is_silent(connection, b"lost")
    assert heard == [b"hello"]
    connection[1].close()
    await asyncio.sleep(SOON_SECONDS)
    assert proxy.connections == 1, "the server still has it"
    assert await ask(await connect(proxy)) == b"hello"


async def test_lost_answers_were_given(proxy: Proxy, connect: Connect, heard: list[bytes]) -> None:
    connection = await connect(proxy)
    await ask(connection)

    assert proxy.lose_answers() == 1

    assert await is_silent(connection, b"do it")
    await eventually(lambda: _now(heard), is_so=lambda known: known == [b"hello", b"do it"])


class AskedFor(float):
    """A delay that tells when the proxy has looked at it, which is after it has read something."""

    def __init__(self, _: float) -> None:
        self.asked = asyncio.Event()

    def __bool__(self) -> bool:
        self.asked.set()
        return True


async def test_a_slow_network_keeps_the_order(proxy: Proxy, connect: Connect) -> None:
    connection = await connect(proxy)
    loop = asyncio.get_running_loop()
    proxy.delay_s = delay_s = AskedFor(0.1)
    began_s = loop.time()
    connection[1].write(b"first ")
    await delay_s.asked.wait()
    proxy.delay_s = 0.0
    connection[1].write(b"second")

    assert await connection[0].readexactly(12) == b"first second"
    assert loop.time() - began_s >= 0.1


async def test_a_healed_network_is_sound(proxy: Proxy, connect: Connect) -> None:
    half_open = await connect(proxy)
    await ask(half_open)
    proxy.silence()
    proxy.delay_s = 3 * HEALED_SECONDS_MAX
    proxy.stall()

    proxy.heal()

    assert await ask(half_open) == b"", "it lost bytes, so it is cut"
    assert await asyncio.wait_for(ask(await connect(proxy)), HEALED_SECONDS_MAX) == b"hello"


async def test_an_end_that_closes_closes_the_other(proxy: Proxy, connect: Connect) -> None:
    connection = await connect(proxy)
    await ask(connection)

    connection[1].close()

    async def gone() -> bool:
        return proxy.connections == 0

    await eventually(gone)


async def test_a_server_that_is_away_is_a_cut_connection(tmp_path: Path, connect: Connect) -> None:
    proxy = Proxy(tmp_path / "proxy", tmp_path / "nobody")
    await proxy.open()

    assert await ask(await connect(proxy)) == b""

    await proxy.close()


async def _now(heard: list[bytes]) -> list[bytes]:
    return heard
