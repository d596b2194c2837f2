"""Raw bytes on a socket: requests that no client library sends, and their answers."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.server import ServerState

from api.server.connection import BoundedProtocol
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

HOST = "127.0.0.1"

ANSWER_S_MAX = 30.0

BODILESS = {204, 304}


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        return json.loads(self.body)


@dataclass
class Wire:
    """A connection that sends what it is given, byte for byte, and is opened again when the other side closed it."""

    port: int
    _streams: list[Any] = field(default_factory=list)

    async def ask(self, request: bytes, *, head: bool = False) -> Reply:
        """Send one request and read one answer."""
        if not self._streams:
            self._streams[:] = await asyncio.open_connection(HOST, self.port)
        reader, writer = self._streams
        writer.write(request)
        reply = await asyncio.wait_for(_read(reader, head=head), ANSWER_S_MAX)
        if reply.headers.get("connection") == "close":
            self.close()
        return reply

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()
        self._streams.clear()


async def _read(reader: asyncio.StreamReader, *, head: bool) -> Reply:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    status = int(lines[0].split(" ")[1])
    if head or status in BODILESS:
        return Reply(status, headers, b"")
    if headers.get("transfer-encoding") == "chunked":
        return Reply(status, headers, await _chunks(reader))
    return Reply(status, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        await reader.readline()
    await reader.readline()
    return body


def request(method: str, path: bytes | str, *, body: bytes | None = None, headers: list[tuple[str, Any]] = ()) -> bytes:
    """A request as bytes; a value that is bytes goes out as it is."""
    raw = path if isinstance(path, bytes) else path.encode()
    lines = [method.encode() + b" " + raw + b" HTTP/1.1"]
    names = {name.lower() for name, _ in headers}
    if "host" not in names:
        lines.append(b"Host: onsale.test")
    if body is not None and not names & {"content-length", "transfer-encoding"}:
        lines.append(b"Content-Length: %d" % len(body))
    lines += [
        name.encode() + b": " + (value if isinstance(value, bytes) else value.encode()) for name, value in headers
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + (body or b"")


@asynccontextmanager
async def bounded(client: httpx.AsyncClient) -> AsyncIterator[int]:
    """The port of a socket of this process, behind which is the client's application."""
    config = uvicorn.Config(client._transport.app, ws="none", log_config=None, server_header=False)
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    async with await loop.create_server(lambda: BoundedProtocol(config, state, {}), HOST, 0) as server:
        yield server.sockets[0].getsockname()[1]
    await ended(state)


async def ended(state: ServerState) -> None:
    """Close what is left of a server's connections: the garbage collector would find them in another test."""
    for connection in tuple(state.connections):
        connection.transport.abort()
    await eventually(lambda: asyncio.sleep(0, not state.connections))


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection now, whatever it has still to send."""
    writer.transport.abort()
    with suppress(OSError):
        await writer.wait_closed()


async def exchange(port: int, sent: bytes, *, patience_s: float = ANSWER_S_MAX) -> bytes:
    """Send bytes and read until the other side closes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(sent)
        return await asyncio.wait_for(reader.read(), patience_s)
    finally:
        await hang_up(writer)
