"""The connection to Redis that all calls of a process share. Answers come in the order of the commands.

The client library connects: address, TLS, password, database. After that, commands are written and answers are read
here, for a tenth of the processor time that the library's connections need per command.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, cast

from hiredis import ProtocolError, Reader, pack_command
from redis.exceptions import ConnectionError as ConnectionLost
from redis.exceptions import TimeoutError as NoAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection

NOTHING_YET = object()
"""Returned by the reader while the next answer is incomplete."""


TOGETHER_MAX = 16
"""Commands in one write.

With more, Redis is idle while this process reads the requests of a crowd, and this process is idle while Redis carries
out the commands. With fewer, each sync of Redis' append-only file serves fewer commands (loadtests/results).
"""


class Link(asyncio.Protocol):
    """Sends the commands of one turn of the event loop in few writes, and reads their answers in few reads.

    If Redis does not answer for `timeout_s`, the connection is closed and every waiting call fails.
    """

    def __init__(self, writer: asyncio.StreamWriter, error_of: Callable[[str], Exception], *, timeout_s: float) -> None:
        self._writer = writer
        # The writer must stay referenced: it closes its transport when it is garbage-collected.
        self._transport = cast("asyncio.Transport", writer.transport)
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._reader = Reader(protocolError=ProtocolError, replyError=error_of, notEnoughData=NOTHING_YET)
        self._outgoing: list[bytes] = []
        self._expected: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._watch: asyncio.TimerHandle | None = None
        self.lost: Exception | None = None
        self._transport.set_protocol(self)
        if self._transport.is_closing():
            self.end(ConnectionLost("connection to Redis lost at once"))

    @property
    def waiting(self) -> int:
        """Calls without an answer yet."""
        return len(self._expected)

    def send(self, command: tuple[Any, ...]) -> asyncio.Future[Any]:
        """Send a command, together with the others of this turn of the event loop.

        An error of Redis is returned as a value: raised to many callers, one exception would collect their tracebacks.
        """
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self.lost:
            answer.set_result(self.lost)
            return answer
        now_s = self._loop.time()
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(pack_command(command))
        if len(self._outgoing) >= TOGETHER_MAX:
            self._flush()
        self._expected.append((answer, now_s))
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        return answer

    def data_received(self, data: bytes) -> None:
        """Deliver the answers that are complete."""
        reader, expected = self._reader, self._expected
        try:
            reader.feed(data)
            while (answer := reader.gets()) is not NOTHING_YET:
                waiter, _ = expected.popleft()
                if not waiter.done():
                    waiter.set_result(answer)
        except (ProtocolError, IndexError) as error:
            self.end(ConnectionLost(f"Redis answered what no one asked: {type(error).__name__}"))

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls under way; it is not known whether they were carried out."""
        self.end(ConnectionLost(f"connection to Redis lost: {exc or 'closed'}"))

    def end(self, reason: Exception) -> None:
        """Close the connection, and fail every waiting call."""
        if self.lost:
            return
        self.lost = reason
        if self._watch:
            self._watch.cancel()
        self._transport.abort()
        while self._expected:
            waiter, _ = self._expected.popleft()
            if not waiter.done():
                waiter.set_result(reason)

    def _flush(self) -> None:
        outgoing, self._outgoing = self._outgoing, []
        if outgoing and not self.lost:
            self._transport.write(b"".join(outgoing))

    def _look(self) -> None:
        """Close the connection if the oldest call has waited too long."""
        self._watch = None
        if not self._expected:
            return
        _, sent_s = self._expected[0]
        left_s = sent_s + self._timeout_s - self._loop.time()
        if left_s <= 0:
            self.end(NoAnswer("Redis does not answer"))
        else:
            self._watch = self._loop.call_later(left_s, self._look)


async def open_link(connection: AbstractConnection, *, timeout_s: float) -> Link:
    """Connect by the client library, then take the connection over; raises RedisError, OSError."""
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
    except asyncio.CancelledError:
        await connection.disconnect(nowait=True)
        raise
    link = Link(cast("asyncio.StreamWriter", connection._writer), connection._parser.parse_error, timeout_s=timeout_s)  # noqa: SLF001
    # From here on the library must neither read from the connection nor close it.
    connection._reader = connection._writer = None  # noqa: SLF001
    return link
