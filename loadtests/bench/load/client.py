"""A cheap HTTP client: prepared bytes, one request at a time on each connection."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterable

HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length:"
NO_BODY = (204, 304)


class HttpReply(Struct, frozen=True):
    """An answer. `took_s` is from the first byte of the request to the last byte of the answer."""

    status: int
    head: bytes
    body: bytes
    took_s: float

    def field(self, name: bytes) -> str:
        """A header field, empty when it is missing; `name` in lower case."""
        at = self.head.lower().find(b"\r\n" + name + b":")
        if at < 0:
            return ""
        return self.head[at + len(name) + 3 :].partition(b"\r\n")[0].strip().decode()


class Connection(asyncio.Protocol):
    """A persistent connection for one request at a time."""

    @classmethod
    async def to(cls, url: str) -> Connection:
        """Connect to `url`."""
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 0
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is open."""
        self._transport: asyncio.WriteTransport = transport  # type: ignore[assignment]
        self._received = b""
        self._answer: asyncio.Future[HttpReply] | None = None

    def data_received(self, data: bytes) -> None:
        """Assemble an answer."""
        self._received += data
        head_end = self._received.find(HEAD_END)
        if head_end < 0:
            return
        head = self._received[: head_end + 2]
        status = int(head[9:12])
        end = head_end + len(HEAD_END) + (0 if status in NO_BODY else _length(head))
        if len(self._received) < end or self._answer is None or self._answer.done():
            return
        body, self._received = self._received[head_end + len(HEAD_END) : end], self._received[end:]
        self._answer.set_result(HttpReply(status, head, body, time.perf_counter() - self._sent_s))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError("the server closed the connection"))

    async def ask(self, request: bytes) -> HttpReply:
        """Send a request and wait for its answer; raises OSError when the connection ends first."""
        self._answer = asyncio.get_running_loop().create_future()
        self._sent_s = time.perf_counter()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


async def ask_all(
    url: str, requests: Iterable[bytes], *, connections: int, seconds: float = math.inf
) -> list[HttpReply]:
    """Send each request once, as fast as answers come, until there are no more requests or the time is over.

    Each connection sends one at least, however slow the machine is. The replies are in the order of the requests.
    """
    replies: dict[int, HttpReply] = {}
    numbered, until_s = enumerate(requests), time.perf_counter() + seconds

    async def work() -> None:
        connection = await Connection.to(url)
        for number, request in numbered:
            replies[number] = await connection.ask(request)
            if time.perf_counter() >= until_s:
                break
        connection.close()

    await asyncio.gather(*(work() for _ in range(connections)))
    return [replies[number] for number in sorted(replies)]


def _length(head: bytes) -> int:
    at = head.lower().find(LENGTH)
    return int(head[at + len(LENGTH) :].partition(b"\r\n")[0]) if at >= 0 else 0
