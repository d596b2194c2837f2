"""Faults on purpose: points where a process kills itself, and protections that can be switched off.

For the chaos runner only: settings refuse both unless `CHAOS=on`, and that on anything but servers of
this machine. Without it `reach` and `protected` cost a look into an empty table.
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
    """A place where being killed must lose nothing."""

    RESERVED = "reserved"
    """API: after the script, before the answer."""
    BEFORE_COMMIT = "before_commit"
    """Worker: the batch is written, PostgreSQL has not committed."""
    AFTER_COMMIT = "after_commit"
    """Worker: committed, not settled."""
    AFTER_SETTLE = "after_settle"
    CANCEL_FOUND = "cancel_found"
    """API: the booking to be cancelled was read."""
    CANCEL_RESTORED = "cancel_restored"
    """API: its record was brought back from PostgreSQL."""
    CANCEL_RELEASED = "cancel_released"
    """API: its places were returned, nobody was told."""
    REBUILD_BEGUN = "rebuild_begun"
    """Worker: the epoch was bumped, nothing else."""
    REBUILD_REFILLING = "rebuild_refilling"
    """Worker: some counters are written, others not."""
    REBUILD_UNPUBLISHED = "rebuild_unpublished"
    """Worker: all counters are written, the scripts not loaded."""
    SHUTTING_DOWN = "shutting_down"
    """API or worker: while it ends on SIGTERM."""


class Protection(StrEnum):
    """A guard of the engine that a negative control takes away, to see the checker notice.

    In Lua, the lines that end in `-- protection: <name>` are the guard.
    """

    SIZE_CHECK = "size_check"
    """reserve.lua compares what is claimed with what is left."""
    CAPACITY_CHECK = "capacity_check"
    """PostgreSQL's CHECK on taken places; the runner drops it when this is off."""
    RELEASE_ONCE = "release_once"
    """release.lua looks whether the booking still holds anything."""
    SETTLE_VERSION = "settle_version"
    """settle.lua compares the version that was written with the record's."""
    EPOCH_IN_REDIS = "epoch_in_redis"
    """Scripts are not loaded again where no anchor is, compare the server and the epoch key, and are looked for."""
    EPOCH_IN_POSTGRES = "epoch_in_postgres"
    """Writes of an older epoch are refused."""
    STABLE_ID = "stable_id"
    """A booking's id follows from account and key."""
    LOOKUP = "lookup"
    """PostgreSQL is asked for a booking of an account that the event has seen before."""
    SWEEP = "sweep"
    """Workers look for what no doorbell announced."""
    INTENT = "intent"
    """With DURABILITY=postgres, a change is in PostgreSQL before it is acknowledged."""


_armed: dict[Failpoint, float] = {}
_off: set[Protection] = set()
_hits: list[Path] = []


def arm(failpoints: Mapping[Failpoint, float], *, off: frozenset[Protection], hits: Path | None) -> None:
    """Arm failpoints with their probabilities and take protections away.

    Each hit adds a line to `hits`; without that file none kills any more, which is how a storm ends.
    """
    _armed.clear()
    _armed.update(failpoints)
    _off.clear()
    _off.update(off)
    _hits[:] = [hits] if hits else []


def reach(point: Failpoint) -> None:
    """Kill this process here, if the point is armed and the dice say so."""
    if _armed and random.random() < _armed.get(point, 0.0):  # noqa: S311  (dice, no secret)
        if not all(path.exists() for path in _hits):
            return
        for path in _hits:
            with path.open("a") as file:
                file.write(f"{point}\n")
        os.kill(os.getpid(), signal.SIGKILL)


def protected(protection: Protection) -> bool:
    """Whether a protection is in place."""
    return protection not in _off


def unguarded(text: str) -> str:
    """A Lua script without the guards that are off."""
    for protection in _off:
        marker = f"-- protection: {protection}"
        text = "\n".join(line for line in text.split("\n") if not line.endswith(marker))
    return text
