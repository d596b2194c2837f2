"""A network that can be broken: a unix socket that leads to another one, and misbehaves when told to."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BACKLOG = 200


class Proxy:
    """Passes bytes between its clients and a server.

    One process on one side, one server on the other: what is done here happens to nobody else.
    """

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self.upstream = upstream
        self.delay_s = 0.0
        self._stalled = False
        self._refusing = False
        self._links: set[_Link] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; the server need not be there yet."""
        loop = asyncio.get_running_loop()
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = await loop.create_unix_server(lambda: _Link(self).client, path=str(self.path), backlog=BACKLOG)

    async def close(self) -> None:
        """Cut everything and listen no more."""
        if self._server:
            self._server.close()
        self.cut()
        # Reset connections are closed in the next turn of the loop.
        await asyncio.sleep(0)

    @property
    def connections(self) -> int:
        """Connections that pass through now, silent ones included."""
        return len(self._links)

    @property
    def stalled(self) -> bool:
        """Whether bytes wait where they are."""
        return self._stalled

    def stall(self) -> None:
        """Let nothing through, keep everything; connections can still be made, as a full backlog lets one."""
        self._stalled = True
        self._adjust()

    def resume(self) -> None:
        """Let through what was kept."""
        self._stalled = False
        self._adjust()

    def cut(self) -> int:
        """Reset every connection; answers how many."""
        links = list(self._links)
        for link in links:
            link.cut()
        return len(links)

    def refuse(self) -> None:
        """Reset every connection, and any that is made, until `accept`."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Take connections again."""
        self._refusing = False

    def silence(self) -> int:
        """Leave the connections there are half open: nothing passes, and neither end is told, until they are cut."""
        return self._mark(silent=True)

    def lose_answers(self) -> int:
        """Drop what the server says on the connections there are."""
        return self._mark(deaf=True)

    def heal(self) -> None:
        """Be a sound network again; connections that lost bytes are cut, for they would never recover."""
        self.accept()
        self.resume()
        self.delay_s = 0.0
        for link in list(self._links):
            if link.silent or link.deaf:
                link.cut()

    def admits(self, link: _Link) -> bool:
        """Whether a new connection may be made."""
        if not self._refusing:
            self._links.add(link)
        return not self._refusing

    def forget(self, link: _Link) -> None:
        """A connection is gone on both sides."""
        self._links.discard(link)

    def _mark(self, **marks: bool) -> int:
        for link in self._links:
            for name, value in marks.items():
                setattr(link, name, value)
        return len(self._links)

    def _adjust(self) -> None:
        for link in list(self._links):
            link.adjust()


class _Link:
    """One connection: an end towards the client, and one towards the server."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.silent = False
        self.deaf = False
        self.client = _End(self)
        self.server = _End(self)
        self._connecting: asyncio.Task[None] | None = None

    def made(self, end: _End) -> None:
        """An end is connected: with the client's the server is called, with the server's bytes may pass."""
        if end is self.client:
            if not self.proxy.admits(self):
                self.cut()
                return
            loop = asyncio.get_running_loop()
            # In the next turn: what is paused while it is made, Python 3.11.2 reads from all the same.
            loop.call_soon(partial(end.read, wanted=False))
            self._connecting = loop.create_task(self._connect())
        else:
            self.adjust()

    def carry(self, end: _End, data: bytes) -> None:
        """Bytes came in at one end."""
        if self.silent or (self.deaf and end is self.server):
            return
        self._other(end).write(data, delay_s=self.proxy.delay_s)

    def lost(self, end: _End) -> None:
        """An end is gone; the other one is told, unless the connection is half open."""
        other = self._other(end)
        if other.closed:
            self.proxy.forget(self)
        elif not self.silent:
            other.finish()

    def cut(self) -> None:
        """Reset both ends."""
        if self._connecting:
            self._connecting.cancel()
        for end in self._ends():
            end.abort()
        self.proxy.forget(self)

    def adjust(self) -> None:
        """Read from both ends, unless bytes are to wait or the other end takes no more."""
        for end in self._ends():
            end.read(wanted=not self.proxy.stalled and not self._other(end).full and self.server.connected)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_unix_connection(lambda: self.server, str(self.proxy.upstream))
        except OSError:
            self.cut()

    def _ends(self) -> Iterator[_End]:
        yield self.client
        yield self.server

    def _other(self, end: _End) -> _End:
        return self.server if end is self.client else self.client


class _End(asyncio.Protocol):
    """One side of a connection. Bytes leave in the order they came, late ones too."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._transport: Any = None
        self._reading = True
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()
        self.closed = False
        self.full = False

    @property
    def connected(self) -> bool:
        """Whether there is somebody at this end."""
        return self._transport is not None and not self.closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self._transport = transport
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        """Pass it on."""
        self._link.carry(self, data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody is there any more."""
        del exc
        self.closed = True
        self._link.lost(self)

    def pause_writing(self) -> None:
        """This end takes no more for now."""
        self.full = True
        self._link.adjust()

    def resume_writing(self) -> None:
        """This end takes more."""
        self.full = False
        self._link.adjust()

    def read(self, *, wanted: bool) -> None:
        """Read from this end, or leave its bytes where they are."""
        if self.connected and wanted is not self._reading:
            self._reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def write(self, data: bytes, *, delay_s: float) -> None:
        """Send to whoever is at this end, after a while."""
        self._do(lambda: self._transport.write(data), delay_s=delay_s)

    def finish(self) -> None:
        """Close this end once everything was sent."""
        if self._transport:
            self._do(self._transport.close, delay_s=0.0)
        else:
            self._link.cut()

    def abort(self) -> None:
        """Close this end at once."""
        if self._transport:
            self._transport.abort()
        self.closed = True

    def _do(self, act: Callable[[], None], *, delay_s: float) -> None:
        due_s = asyncio.get_running_loop().time() + delay_s
        self._waiting.append((max(due_s, self._waiting[-1][0]) if self._waiting else due_s, act))
        self._act_on_what_is_due()

    def _act_on_what_is_due(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            _, act = self._waiting.popleft()
            if self.connected:
                act()
        if self._waiting:
            loop.call_at(self._waiting[0][0], self._act_on_what_is_due)
