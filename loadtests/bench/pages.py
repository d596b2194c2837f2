"""Turning pages: lists by cursor take no longer on page ten thousand than on the first."""

from __future__ import annotations

from statistics import median

import msgspec
import uvloop
from msgspec import Struct

from loadtests.bench.client import Connection
from loadtests.bench.generator import Unexpected
from loadtests.bench.prepared import request

BLOCK = 100
"""Pages whose median is one point of the picture."""

OK = 200


class Page(Struct, frozen=True):
    """What is read of a page."""

    items: list[msgspec.Raw]
    next_cursor: str | None = None


class List(Struct, frozen=True):
    """A list, how many of its items are on one page, and the token of somebody who may see it."""

    title: str
    path: str
    limit: int
    token: str


class Walk(Struct, frozen=True):
    """How long pages took, as medians of blocks, from the first page to the last."""

    title: str
    pages: int
    block_ms: list[float]

    @property
    def first_to_last(self) -> float:
        """What of its pace a list keeps until its last pages."""
        return self.block_ms[0] / self.block_ms[-1]


def walk(url: str, listed: List, *, pages: int) -> Walk:
    """Turn pages of a list one after the other.

    Raises:
        Unexpected: a page was not answered, or there were fewer.
    """
    took_ms = uvloop.run(_walk(url, f"{listed.path}?limit={listed.limit}", listed.token, pages))
    blocks = [took_ms[start : start + BLOCK] for start in range(0, len(took_ms), BLOCK)]
    return Walk(listed.title, len(took_ms), [median(block) for block in blocks])


async def _walk(url: str, path: str, token: str, pages: int) -> list[float]:
    took_ms: list[float] = []
    connection = await Connection.to(url)
    cursor: str | None = ""
    while len(took_ms) < pages:
        if cursor is None:
            message = f"{path} has {len(took_ms)} pages, not {pages}"
            raise Unexpected(message)
        reply = await connection.ask(request("GET", f"{path}&cursor={cursor}" if cursor else path, token=token))
        if reply.status != OK:
            message = f"{path}: expected {OK}, got {reply.status}: {reply.body.decode(errors='replace')}"
            raise Unexpected(message)
        took_ms.append(reply.took_s * 1000)
        cursor = msgspec.json.decode(reply.body, type=Page).next_cursor
    connection.close()
    return took_ms
