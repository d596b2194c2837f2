"""Locust as a generator, only to measure its own ceiling."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct, structs

from loadtests.bench.load.generator import LoadResult, Unexpected, result_of

LOCUSTFILE = Path(__file__).parent / "ceiling_locustfile.py"

START_SECONDS_MAX = 60
"""Locust imports for two seconds, much longer on a busy machine."""

STOP_SECONDS_MAX = 10
"""The longest wait for the last answers."""

ACCEPTED = 202
"""The only status of the bare application; locust reports successes without a status."""


class Entry(Struct, frozen=True):
    """Locust's own figures of one kind of request; `response_times` counts requests by milliseconds."""

    num_requests: int
    num_failures: int
    start_time: float
    last_request_timestamp: float
    response_times: dict[str, int]


def fire_locust(url: str, *, connections: int, seconds: float) -> LoadResult:
    """Send the bare application the requests of a locustfile."""
    whole = max(1, round(seconds))
    command = [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--json", "--host", url]
    command += ["-u", str(connections), "-r", str(connections), "-t", f"{whole}s"]
    command += ["--loglevel", "ERROR", "--stop-timeout", str(STOP_SECONDS_MAX), "--exit-code-on-error", "0"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=whole + START_SECONDS_MAX)
    if done.returncode != 0:
        message = f"locust ended with {done.returncode}: {done.stderr.decode(errors='replace')}"
        raise Unexpected(message)
    return answered_by(msgspec.json.decode(done.stdout, type=list[Entry]))


def answered_by(entries: list[Entry]) -> LoadResult:
    """Read locust's figures."""
    took_ms = [float(ms) for entry in entries for ms, asked in entry.response_times.items() for _ in range(asked)]
    ended_s = max(entry.last_request_timestamp for entry in entries)
    seconds = ended_s - min(entry.start_time for entry in entries)
    answered = result_of({ACCEPTED: sum(entry.num_requests for entry in entries)}, took_ms, seconds=seconds)
    return structs.replace(answered, broken=sum(entry.num_failures for entry in entries))
