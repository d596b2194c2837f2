"""A server that costs next to nothing: what it is asked in a second is the generator's ceiling."""

from __future__ import annotations

import asyncio
import os
import socket

import uvloop

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


class Echo(asyncio.Protocol):
    """Answers whatever comes, unread. The generator sends one request and waits for its answer."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer."""
        del data
        self._transport.write(ANSWER)


async def main() -> None:
    """Serve on the socket that was handed down."""
    listener = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
    server = await asyncio.get_running_loop().create_server(Echo, sock=listener)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
