"""Answers in one write, at the end of a turn of the event loop.

uvicorn searches every field for forbidden characters, and writes head and body with a system call each. `write_whole`
writes both with one. Redis answers up to sixteen bookings in one turn of the loop. If each answer were written
immediately, the reading process would wake up for each, and often take the processor from this one. So the answers of a
turn are written together at its end.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from api.http.headers import Field


class WriteBatch:
    """Answers on any connection that are written at the end of this turn of the loop, in their order.

    Code that writes to a connection by itself, or closes it, must call `send` first.
    """

    def __init__(self) -> None:
        self._answers: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Write `answer` at the end of this turn."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self.send)
        self._answers.append((transport, answer))

    def send(self) -> None:
        """Write everything now.

        Connections that have closed are left out: a write to one raises, and would hold up the others.
        """
        answers, self._answers = self._answers, []
        for transport, answer in answers:
            if not transport.is_closing():
                transport.write(answer)


_batches: WeakKeyDictionary[asyncio.AbstractEventLoop, WriteBatch] = WeakKeyDictionary()


def write_batch_of(loop: asyncio.AbstractEventLoop) -> WriteBatch:
    """The batch of a loop, which all connections of a process share."""
    if loop not in _batches:
        _batches[loop] = WriteBatch()
    return _batches[loop]


def write_whole(  # noqa: PLR0913, PLR0917  (bound to a request in one place, called in one place)
    cycle: RequestResponseCycle, batch: WriteBatch, status: int, fields: Iterable[Field], lines: bytes, body: bytes
) -> bool:
    """Answer a request with one write; returns False, and does nothing, if that is not possible now.

    The request is not a HEAD. `fields` contain the content's length, if there is content, and have names in lower case.
    `lines` are constant fields, formatted as they are written.

    Raises:
        ValueError: a field contains a line break.
    """
    if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
        return False
    written = [b"%b: %b\r\n" % field for field in (*cycle.default_headers, *fields)]
    if not cycle.keep_alive:
        written.append(b"connection: close\r\n")
    head = b"".join(written)
    if head.count(b"\n") != len(written) or head.count(b"\r") != len(written):
        message = "a line break in a field of the header"
        raise ValueError(message)
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    batch.put(cycle.transport, b"%b%b%b\r\n%b" % (STATUS_LINE[status], head, lines, body))
    cycle.message_event.set()
    if not cycle.keep_alive:
        batch.send()
        cycle.transport.close()
    cycle.on_response()
    return True
