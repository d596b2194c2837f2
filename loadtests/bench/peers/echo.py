"""A server that costs almost nothing: its rate is the ceiling of the generator."""

from __future__ import annotations

import asyncio
import os
import socket

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Echo(asyncio.Protocol):
    """Answers without reading. The generator sends one request and waits for its answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer."""
        del data
        self._transport.write(ANSWER)


async def main() -> None:
    """Serve on the inherited socket."""
    listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
    server = await asyncio.get_running_loop().create_server(Echo, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
