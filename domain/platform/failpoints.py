"""Failpoints: points where a process kills itself, and protections that can be switched off.

They are for the chaos runner only: settings refuse both without `CHAOS=on`, and `CHAOS=on` with servers that are not on
this machine. Otherwise `reach` and `protected` cost one look-up in an empty table.
"""

from __future__ import annotations

import os
import random
import signal
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


class Failpoint(StrEnum):
    """A point at which the death of the process must lose nothing."""

    RESERVED = "reserved"
    """API: after the script, before the answer."""
    BEFORE_COMMIT = "before_commit"
    """Worker: the batch is written, but not committed by PostgreSQL."""
    AFTER_COMMIT = "after_commit"
    """Worker: the batch is committed, but not settled."""
    AFTER_SETTLE = "after_settle"
    CANCEL_FOUND = "cancel_found"
    """API: the booking to be cancelled was read."""
    CANCEL_RESTORED = "cancel_restored"
    """API: the record was restored from PostgreSQL."""
    CANCEL_RELEASED = "cancel_released"
    """API: the tickets were returned, but the caller has no answer."""
    REBUILD_BEGUN = "rebuild_begun"
    """Worker: the epoch was incremented, nothing else."""
    REBUILD_REFILLING = "rebuild_refilling"
    """Worker: some counters are written, others not."""
    REBUILD_UNPUBLISHED = "rebuild_unpublished"
    """Worker: all counters are written, but the scripts are not loaded."""
    SHUTTING_DOWN = "shutting_down"
    """API or worker: during the shutdown on SIGTERM."""


class Protection(StrEnum):
    """A protection of the engine that a negative control removes, to prove that the checker notices.

    In Lua, the protection consists of the lines that end in `-- protection: <name>`.
    """

    SIZE_CHECK = "size_check"
    """reserve_tickets.lua compares the claimed quantity with the remaining one."""
    CAPACITY_CHECK = "capacity_check"
    """PostgreSQL's CHECK on tickets taken; the runner drops it when this is off."""
    RELEASE_ONCE = "release_once"
    """release_tickets.lua checks whether the booking still holds its claims."""
    SETTLE_VERSION = "settle_version"
    """settle_bookings.lua compares the version that was written with the record's version."""
    EPOCH_IN_REDIS = "epoch_in_redis"
    """Scripts are reloaded only with the anchor, compare server and epoch key, and are checked for existence."""
    EPOCH_IN_POSTGRES = "epoch_in_postgres"
    """PostgreSQL refuses writes of an older epoch."""
    STABLE_ID = "stable_id"
    """The id of a booking is derived from account and idempotency key."""
    LOOKUP = "lookup"
    """PostgreSQL is asked for the booking of an account that has booked the event before."""
    SWEEP = "sweep"
    """Workers search for unpersisted bookings without a wake-up."""
    INTENT = "intent"
    """With DURABILITY=postgres, a change is in PostgreSQL before it is acknowledged."""


_armed: dict[Failpoint, float] = {}
_off: set[Protection] = set()
_hits: list[Path] = []


def arm(failpoints: Mapping[Failpoint, float], *, off: frozenset[Protection], hits: Path | None) -> None:
    """Arm failpoints with their probabilities, and switch protections off.

    Each hit adds a line to `hits`. Without that file no failpoint kills any more: the chaos runner ends a storm by
    removing it.
    """
    _armed.clear()
    _armed.update(failpoints)
    _off.clear()
    _off.update(off)
    _hits[:] = [hits] if hits else []


def reach(point: Failpoint) -> None:
    """Kill this process here with the point's probability, if the point is armed."""
    if _armed and random.random() < _armed.get(point, 0.0):  # noqa: S311  (dice, no secret)
        if not all(path.exists() for path in _hits):
            return
        for path in _hits:
            with path.open("a") as file:
                file.write(f"{point}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def protected(protection: Protection) -> bool:
    """Whether a protection is on."""
    return protection not in _off


def unguarded(text: str) -> str:
    """The text of a Lua script without the protections that are off."""
    for protection in _off:
        marker = f"-- protection: {protection}"
        text = "\n".join(line for line in text.split("\n") if not line.endswith(marker))
    return text
