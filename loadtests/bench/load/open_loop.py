"""Open loop: requests at fixed times, whether or not earlier ones were answered, as people send them."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.load.client import Connection
from loadtests.bench.load.generator import LoadResult
from loadtests.sales.figures import times_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECTIONS_MAX = 2_000
"""Requests under way at once; with more, they wait here and count as late."""

LEAD_S = 0.2
"""Time between the start and the first request."""


class Paced(Struct, frozen=True):
    """The answers of an open loop. Times count from when a request was due, not from when it could be sent.

    `late_p99_ms` is how late the generator itself was.
    """

    answered: LoadResult
    late_p99_ms: float


async def ask_at(url: str, requests: Sequence[bytes], *, per_second: float) -> Paced:
    """Send each request once, evenly spaced."""
    pace = _Pace(url)
    began_s = time.perf_counter() + LEAD_S
    # A pause of the generator would count as the server's.
    gc.disable()
    try:
        async with asyncio.TaskGroup() as group:
            for number, request in enumerate(requests):
                due_s = began_s + number / per_second
                wait_s = due_s - time.perf_counter()
                if wait_s > 0:
                    await asyncio.sleep(wait_s)
                group.create_task(pace.ask(request, due_s))
    finally:
        gc.enable()
    pace.close()
    times = times_of(pace.took_ms)
    return Paced(
        LoadResult(
            statuses=dict(pace.statuses),
            seconds=time.perf_counter() - began_s,
            p50_ms=times.p50_ms,
            p99_ms=times.p99_ms,
        ),
        late_p99_ms=times_of(pace.late_ms).p99_ms,
    )


class _Pace:
    """The connections, as many as are needed at once, and the results of the requests."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self.statuses: Counter[int] = Counter()
        self.took_ms: list[float] = []
        self.late_ms: list[float] = []

    async def ask(self, request: bytes, due_s: float) -> None:
        """Send a request over an idle connection, or a new one."""
        async with self._slots:
            connection = self._idle.pop() if self._idle else await Connection.to(self._url)
            self.late_ms.append((time.perf_counter() - due_s) * 1000)
            reply = await connection.ask(request)
            self.took_ms.append((time.perf_counter() - due_s) * 1000)
            self.statuses[reply.status] += 1
            self._idle.append(connection)

    def close(self) -> None:
        """Close every connection."""
        for connection in self._idle:
            connection.close()
