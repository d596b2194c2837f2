"""The generator of load: closed loops, in which each connection waits for its answer, and an open loop.

It runs in this process and costs about a fifth of the server's CPU.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from typing import TYPE_CHECKING

import uvloop
from msgspec import Struct, structs

from loadtests.bench.load.client import Connection, ask_all
from loadtests.sales.figures import times_of
from loadtests.sales.target import loopback_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SECONDS_MAX = 120
"""Duration of one run."""

CONNECTIONS_MAX = 1_000

OPEN_CONNECTIONS_MAX = 2_000
"""Requests of an open loop under way at once; with more, they wait here and count as late."""

LEAD_S = 0.2
"""Time between the start of an open loop and its first request."""


class LoadResult(Struct, frozen=True, kw_only=True):
    """The answers of a run. `seconds` are from its first request to its last answer.

    `late_p99_ms` is how late an open loop sent its requests.
    """

    statuses: dict[int, int]
    seconds: float
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    broken: int = 0
    generator_cpu_s: float = 0.0
    late_p99_ms: float = 0.0

    @property
    def count(self) -> int:
        """Number of answers."""
        return sum(self.statuses.values())

    @property
    def per_second(self) -> float:
        """Answers per second."""
        return self.count / self.seconds if self.seconds else 0.0


class Unexpected(Exception):
    """An answer was wrong; the figures of the run are worth nothing."""


def check_all(answered: LoadResult, *, expected: int, what: str) -> None:
    """Raise Unexpected unless there were answers, and each had the expected status."""
    if answered.broken or set(answered.statuses) != {expected}:
        message = f"{what}: expected {expected} only, got {answered.statuses}, and {answered.broken} broken"
        raise Unexpected(message)


def fire(url: str, requests: Iterable[bytes], *, connections: int, seconds: float) -> LoadResult:
    """Send requests to a server of this machine for some seconds as fast as it answers, over persistent connections.

    Raises:
        TargetRefused: `url` is not this machine's.
    """
    asking = ask_all(
        loopback_url(url),
        requests,
        connections=min(connections, CONNECTIONS_MAX),
        seconds=min(seconds, SECONDS_MAX),
    )
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    replies = uvloop.run(asking)
    took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    took_ms = [reply.took_s * 1000 for reply in replies]
    answered = result_of(Counter(reply.status for reply in replies), took_ms, seconds=took_s)
    return structs.replace(answered, generator_cpu_s=cpu_s)


async def ask_at(url: str, requests: Sequence[bytes], *, per_second: float) -> LoadResult:
    """Open loop: send each request once, evenly spaced, whether or not earlier ones were answered, as people do.

    Times count from when a request was due, not from when it could be sent.
    """
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
    answered = result_of(pace.statuses, pace.took_ms, seconds=time.perf_counter() - began_s)
    return structs.replace(answered, late_p99_ms=times_of(pace.late_ms).p99_ms)


def result_of(statuses: dict[int, int], took_ms: Sequence[float], *, seconds: float) -> LoadResult:
    """A run by its statuses and the time of each answer."""
    if not took_ms:
        return LoadResult(statuses={}, seconds=seconds)
    times = times_of(took_ms)
    return LoadResult(statuses=dict(statuses), seconds=seconds, p50_ms=times.p50_ms, p99_ms=times.p99_ms)


class _Pace:
    """The connections, as many as are needed at once, and the results of the requests."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(OPEN_CONNECTIONS_MAX)
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
