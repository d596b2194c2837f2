"""A network that can be broken: a unix socket that leads to another one, and misbehaves when told to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BACKLOG = 200

CHUNK_BYTES_MAX = 1 << 16


class Proxy:
    """Passes bytes between the clients and the server of one link. Other links are not affected.

    With `delay_s`, bytes are passed on so much later, in order.
    """

    def __init__(self, path: Path, upstream: Path) -> None:
        self.path = path
        self.upstream = upstream
        self.delay_s = 0.0
        self.flowing = asyncio.Event()
        self.flowing.set()
        self._refusing = False
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Listen; the server need not be there yet."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._server = await asyncio.start_unix_server(self._accepted, self.path, backlog=BACKLOG)

    async def close(self) -> None:
        """Cut every connection and stop listening."""
        if self._server:
            self._server.close()
        ending = [connection.task for connection in self._connections]
        self.cut()
        await asyncio.gather(*ending, return_exceptions=True)

    @property
    def connections(self) -> int:
        """Connections that pass through now, silent ones included."""
        return len(self._connections)

    def stall(self) -> None:
        """Keep all bytes until `resume`; connections can still be made."""
        self.flowing.clear()

    def resume(self) -> None:
        """Pass on the bytes that were kept."""
        self.flowing.set()

    def cut(self) -> int:
        """Reset every connection; returns how many."""
        cut = list(self._connections)
        for connection in cut:
            connection.cut()
        self._connections.clear()
        return len(cut)

    def refuse(self) -> None:
        """Reset every connection, and each new one, until `accept`."""
        self._refusing = True
        self.cut()

    def accept(self) -> None:
        """Take connections again."""
        self._refusing = False

    def silence(self) -> int:
        """Make the present connections half open until they are cut: nothing passes, and neither end is told."""
        for connection in self._connections:
            connection.silent = True
        return self.connections

    def lose_answers(self) -> int:
        """Drop the server's bytes on the present connections until they are cut."""
        for connection in self._connections:
            connection.deaf = True
        return self.connections

    def heal(self) -> None:
        """Be a sound network again. Connections that lost bytes are cut, because they would never recover."""
        self.accept()
        self.resume()
        self.delay_s = 0.0
        for connection in list(self._connections):
            if connection.silent or connection.deaf:
                connection.cut()

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        connection = _Connection(self, writer)
        self._connections.add(connection)
        connection.task = asyncio.create_task(connection.carry(reader))
        connection.task.add_done_callback(lambda _: self._connections.discard(connection))


class _Connection:
    """A connection of a client, and the one to the server to which its bytes are passed on."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter) -> None:
        self.task: asyncio.Task[None]
        self.silent = False
        self.deaf = False
        self._proxy = proxy
        self._writers = [client]

    async def carry(self, reader: asyncio.StreamReader) -> None:
        """Pass bytes both ways until both ends are closed, or one of them is gone."""
        (client,) = self._writers
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(self._proxy.upstream)
            self._writers.append(server_writer)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, server_writer, answers=False))
                group.create_task(self._pass_on(server_reader, client, answers=True))
        except* OSError:
            # An end that is gone ends both directions.
            self._abort()

    def cut(self) -> None:
        """Reset both ends."""
        self._abort()
        self.task.cancel()

    def _abort(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(CHUNK_BYTES_MAX):
            await self._proxy.flowing.wait()
            if self._proxy.delay_s:
                await asyncio.sleep(self._proxy.delay_s)
            if not self.silent and not (self.deaf and answers):
                writer.write(data)
                await writer.drain()
        if not self.silent:
            writer.close()
