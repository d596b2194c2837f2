"""Lists by cursor: page ten thousand takes no longer than the first."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from statistics import median

import msgspec
import uvloop
from msgspec import Struct

from loadtests.bench.load.client import Connection
from loadtests.bench.load.generator import Unexpected
from loadtests.bench.load.requests import request

BLOCK = 100
"""Pages whose median is one point of a picture."""

OK = 200


class ReadPage(Struct, frozen=True):
    """The fields of a page that are read."""

    items: list[msgspec.Raw]
    next_cursor: str | None = None


class List(Struct, frozen=True):
    """A list: its items on one page, and a token that may read it."""

    title: str
    path: str
    limit: int
    token: str


class Walk(Struct, frozen=True):
    """Times of pages: medians of blocks in order, then of the first and the last block once more, in turns.

    Ten thousand pages take half a minute, in which a shared machine may have become slower or faster.
    """

    title: str
    pages: int
    block_ms: list[float]
    first_ms: float
    last_ms: float

    @property
    def first_to_last(self) -> float:
        """The pace of the last pages as a share of that of the first."""
        return self.first_ms / self.last_ms


def walk(url: str, listed: List, *, pages: int) -> Walk:
    """Read the pages of a list in order, then alternate between the first and the last of them.

    Raises:
        Unexpected: a page had another status than 200, or there were fewer pages.
    """
    return uvloop.run(_walk(url, listed, pages))


async def _walk(url: str, listed: List, pages: int) -> Walk:
    took_ms: list[float] = []
    cursors: list[str | None] = [None]
    first_ms: list[float] = []
    last_ms: list[float] = []
    with closing(await Connection.to(url)) as connection:
        reader = _Reader(connection, listed)
        for number in range(pages):
            page_ms, cursor = await reader.turn(cursors[-1])
            took_ms.append(page_ms)
            if cursor is None and number + 1 < pages:
                message = f"{listed.path} has {number + 1} pages, not {pages}"
                raise Unexpected(message)
            cursors.append(cursor)
        for early, late in zip(cursors[:BLOCK], cursors[:pages][-BLOCK:], strict=True):
            first_ms.append((await reader.turn(early))[0])
            last_ms.append((await reader.turn(late))[0])
    blocks = [took_ms[start : start + BLOCK] for start in range(0, pages, BLOCK)]
    return Walk(listed.title, pages, [median(block) for block in blocks], median(first_ms), median(last_ms))


@dataclass(frozen=True)
class _Reader:
    """Reads the pages of a list."""

    connection: Connection
    listed: List

    async def turn(self, cursor: str | None) -> tuple[float, str | None]:
        """Read the page at a cursor, the first one at None; returns its time in ms and the next cursor."""
        path = f"{self.listed.path}?limit={self.listed.limit}"
        wanted = f"{path}&cursor={cursor}" if cursor else path
        reply = await self.connection.ask(request("GET", wanted, token=self.listed.token))
        if reply.status != OK:
            message = f"{path}: expected {OK}, got {reply.status}: {reply.body.decode(errors='replace')}"
            raise Unexpected(message)
        return reply.took_s * 1000, msgspec.json.decode(reply.body, type=ReadPage).next_cursor
