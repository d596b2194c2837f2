"""Readers of streams, on a connection of their own."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

from tests.api.server.wires import HOST, bounded, hang_up, request

STREAM = "text/event-stream"


class Reader:
    """An EventSource, as the HTML standard has it, as far as it matters here."""

    def __init__(self, stream):
        self._stream = stream
        self.retry_ms = None
        self.last_id = None

    async def event(self):
        """The next event's data; None when the stream ends first."""
        data = None
        while line := await asyncio.wait_for(self._stream.readline(), 30):
            name, _, value = line.decode().strip().partition(": ")
            if name == "retry":
                self.retry_ms = int(value)
            elif name == "id":
                self.last_id = value
            elif name == "data":
                data = json.loads(value)
            elif not name and data:
                return data
        return None


@asynccontextmanager
async def reading(client, buyer, path, *, last_id=None):
    """A reader of a stream. `buyer` may be None, for a stream that needs no account."""
    headers = [("Accept", STREAM), ("Connection", "close")]
    if buyer is not None:
        headers.append(("Authorization", f"Bearer {buyer.access_token}"))
    if last_id:
        headers.append(("Last-Event-ID", last_id))
    async with bounded(client) as port:
        stream, writer = await asyncio.open_connection(HOST, port)
        writer.write(request("GET", path, headers=headers))
        head = await stream.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        yield Reader(stream)
        await hang_up(writer)
