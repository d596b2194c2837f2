"""Memory that Redis uses for a booking, while it is pending and after it was persisted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from loadtests.bench.cases.drain import fill

if TYPE_CHECKING:
    from loadtests.bench.cases.cases import OwnBench
    from loadtests.bench.report.results import Figures
    from loadtests.bench.stack import BenchStack


def measure_memory(bench: OwnBench, *, bookings: int) -> Figures:
    """Make bookings over HTTP while the workers are paused, then have them persisted.

    Bytes for one booking, with all that its request leaves in Redis: record, lists, counter, key, limit.
    """
    stack = bench.stack
    stack.pause_workers()
    try:
        before = _used_bytes(stack)
        fill(bench, backlog=bookings)
        pending = _used_bytes(stack)
    finally:
        stack.resume_workers()
    stack.wait_until_drained()
    retired = _used_bytes(stack)
    return {"pending_bytes": (pending - before) / bookings, "retired_bytes": (retired - before) / bookings}


def _used_bytes(stack: BenchStack) -> int:
    """What Redis says it uses for data."""
    with stack.redis() as redis:
        info = cast("dict[str, Any]", redis.info("memory"))
    return int(info["used_memory_dataset"])
