"""What a booking takes of Redis' memory, while it is pending and after it was persisted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from domain.kernel.partitions import PARTITIONS, partition_of_event

if TYPE_CHECKING:
    from loadtests.bench.cases.cases import OwnBench
    from loadtests.bench.stack import Stack

CHUNK = 1_000
"""Bookings made for one event: so few that the first is not too old before the last is made."""


class Memory(Struct, frozen=True):
    """Bytes for one booking, with all that its request leaves in Redis: record, lists, counter, key, limit."""

    bookings: int
    pending_bytes: float
    retired_bytes: float


def measure_memory(bench: OwnBench, *, bookings: int) -> Memory:
    """Make bookings over HTTP while the workers stand still, then have them persisted."""
    stack, partitions = bench.stack, set[int]()
    stack.pause_workers()
    try:
        before = used_bytes(stack)
        made = 0
        while made < bookings and len(partitions) < PARTITIONS:
            event_id = bench.crowd.event()
            if partition_of_event(event_id) in partitions:
                continue
            partitions.add(partition_of_event(event_id))
            start = made % max(1, len(bench.crowd.buyers) - CHUNK)
            made += len(bench.crowd.book(event_id, bench.crowd.buyers[start : start + CHUNK]))
        pending = used_bytes(stack)
    finally:
        stack.resume_workers()
    stack.wait_until_drained()
    return Memory(
        bookings=made,
        pending_bytes=(pending - before) / made,
        retired_bytes=(used_bytes(stack) - before) / made,
    )


def used_bytes(stack: Stack) -> int:
    """What Redis says it uses for data."""
    with stack.redis() as redis:
        info = cast("dict[str, Any]", redis.info("memory"))
    return int(info["used_memory_dataset"])
