"""The generator of load: wrk where it is installed, otherwise a small one in Python."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop
from msgspec import Struct

from loadtests.bench.load.client import ask_for
from loadtests.bench.load.prepared import read_requests
from loadtests.sales.figures import times_of
from loadtests.sales.target import loopback_url

if TYPE_CHECKING:
    from loadtests.bench.load.prepared import Prepared

SCRIPT = Path(__file__).parent / "prepared.lua"

TIMEOUT_S = 10
"""An answer that takes longer counts as broken."""

SECONDS_MAX = 120
"""Duration of one run."""

CONNECTIONS_MAX = 1_000


class LoadResult(Struct, frozen=True, kw_only=True):
    """The answers of a run. `seconds` are from its first request to its last answer.

    `generator_cpu_s` is None where it is unknown.
    """

    statuses: dict[int, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    broken: int = 0
    generator_cpu_s: float | None = None

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


class Generator(ABC):
    """Sends requests to a server of this machine as fast as it answers, over persistent connections."""

    name: str

    def __init__(self, *, connections: int) -> None:
        self.connections = min(connections, CONNECTIONS_MAX)

    def fire(self, url: str, prepared: Prepared, *, seconds: float) -> LoadResult:
        """Send prepared requests for some seconds.

        Raises:
            TargetRefused: `url` is not this machine's.
        """
        return self._fire(loopback_url(url), prepared, seconds=min(seconds, SECONDS_MAX))

    @abstractmethod
    def _fire(self, url: str, prepared: Prepared, *, seconds: float) -> LoadResult: ...


class Wrk(Generator):
    """One thread of wrk; it costs a tenth of the server's CPU."""

    name = "wrk"

    def _fire(self, url: str, prepared: Prepared, *, seconds: float) -> LoadResult:
        whole = max(1, round(seconds))
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{whole}s", f"--timeout={TIMEOUT_S}s", "-s", str(SCRIPT)]
        command += [url, "--", str(prepared.path), "again" if prepared.again else "once"]
        before = os.times()
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=whole + 2 * TIMEOUT_S)
        after = os.times()
        if done.returncode != 0:
            message = f"wrk ended with {done.returncode}: {done.stderr}"
            raise Unexpected(message)
        answered = msgspec.json.decode(done.stdout.splitlines()[-1], type=LoadResult)
        cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
        return msgspec.structs.replace(answered, generator_cpu_s=cpu_s)


class Own(Generator):
    """A generator in this process; it costs about a fifth of the server's CPU."""

    name = "own (wrk is not installed)"

    def _fire(self, url: str, prepared: Prepared, *, seconds: float) -> LoadResult:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        requests = read_requests(prepared)
        replies = uvloop.run(ask_for(url, requests, connections=self.connections, seconds=seconds))
        took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        if not replies:
            return LoadResult(statuses={}, seconds=took_s, p50_ms=0, p99_ms=0)
        times = times_of([reply.took_s * 1000 for reply in replies])
        return LoadResult(
            statuses=dict(Counter(reply.status for reply in replies)),
            seconds=took_s,
            p50_ms=times.p50_ms,
            p99_ms=times.p99_ms,
            generator_cpu_s=cpu_s,
        )


def generator(*, connections: int) -> Generator:
    """The cheapest generator that is installed."""
    return (Wrk if shutil.which("wrk") else Own)(connections=connections)
