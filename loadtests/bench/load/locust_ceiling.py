"""Locust as a generator, only to measure its own ceiling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from loadtests.bench.load.generator import TIMEOUT_S, Generator, LoadResult, Unexpected

if TYPE_CHECKING:
    from loadtests.bench.load.prepared import Prepared

LOCUSTFILE = Path(__file__).parent / "ceiling_locustfile.py"

START_SECONDS_MAX = 60
"""Locust imports for two seconds, much longer on a busy machine."""

ACCEPTED = 202
"""The only status of the bare application; locust reports successes without a status."""


class Entry(Struct, frozen=True):
    """Locust's own figures of one kind of request; `response_times` counts requests by milliseconds."""

    num_requests: int
    num_failures: int
    start_time: float
    last_request_timestamp: float
    response_times: dict[str, int]


class Locust(Generator):
    """Sends the bare application the requests of a locustfile; prepared requests are ignored."""

    name = "locust"

    def _fire(self, url: str, prepared: Prepared, *, seconds: float) -> LoadResult:
        del prepared
        whole = max(1, round(seconds))
        command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--json", "--host", url]
        command += ["-u", str(self.connections), "-r", str(self.connections), "-t", f"{whole}s"]
        command += ["--loglevel", "ERROR", "--stop-timeout", str(TIMEOUT_S), "--exit-code-on-error", "0"]
        done = subprocess.run(command, capture_output=True, check=False, timeout=whole + START_SECONDS_MAX)
        if done.returncode != 0:
            message = f"locust ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
            raise Unexpected(message)
        return answered_by(msgspec.json.decode(done.stdout, type=list[Entry]))


def answered_by(entries: list[Entry]) -> LoadResult:
    """Read locust's figures."""
    count = sum(entry.num_requests for entry in entries)
    times_ms = sorted((float(ms), asked) for entry in entries for ms, asked in entry.response_times.items())
    return LoadResult(
        statuses={ACCEPTED: count} if count else {},
        broken=sum(entry.num_failures for entry in entries),
        seconds=max(entry.last_request_timestamp for entry in entries) - min(entry.start_time for entry in entries),
        p50_ms=_percentile(times_ms, count * 0.50),
        p99_ms=_percentile(times_ms, count * 0.99),
    )


def _percentile(times_ms: list[tuple[float, int]], rank: float) -> float:
    passed = 0
    for ms, asked in times_ms:
        passed += asked
        if passed >= rank:
            return ms
    return 0.0
