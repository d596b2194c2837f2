"""Answers of one turn of the loop leave together at its end.

Sixteen bookings come back from Redis at once. Were each answered as soon as it is known, whoever reads the answers
would be woken for each, and often take the core from here for it.
"""

from __future__ import annotations

import asyncio
from weakref import WeakKeyDictionary


class Outbox:
    """What is to be sent at the end of this turn, in the order in which it came, on any connection.

    Who writes to a connection by itself, or closes it, calls `send` first.
    """

    def __init__(self) -> None:
        self._answers: list[tuple[asyncio.Transport, bytes]] = []

    def put(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Send `answer` soon."""
        if not self._answers:
            asyncio.get_running_loop().call_soon(self.send)
        self._answers.append((transport, answer))

    def send(self) -> None:
        """Send everything now, except to who has left: to write there raises, and the others wait for theirs."""
        answers, self._answers = self._answers, []
        for transport, answer in answers:
            if not transport.is_closing():
                transport.write(answer)


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The one outbox of a loop: all connections of a process share it."""
    if loop not in _outboxes:
        _outboxes[loop] = Outbox()
    return _outboxes[loop]
