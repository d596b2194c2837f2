"""Failpoints: points where a process kills itself.

They are for the chaos runner only: settings refuse them without `CHAOS=on`, and `CHAOS=on` with servers that are not on
this machine. Otherwise `reach` costs one look-up in an empty table.
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
    HOLD_CHANGED = "hold_changed"
    """API: a hold was confirmed or extended, or a booking was reduced, but the caller has no answer."""
    HOLDS_EXPIRED = "holds_expired"
    """Worker: claims of holds came back, but PostgreSQL does not know."""
    PAYMENT_STORED = "payment_stored"
    """API: a payment stands, but its booking is not confirmed."""
    REFUND_SENT = "refund_sent"
    """Worker: the provider has made a refund, but PostgreSQL does not know."""
    REBUILD_BEGUN = "rebuild_begun"
    """Worker: the epoch was incremented, nothing else."""
    REBUILD_REFILLING = "rebuild_refilling"
    """Worker: some events are refilled and sell, others not."""
    REBUILD_UNPUBLISHED = "rebuild_unpublished"
    """Worker: the terms of all events are withdrawn, but the scripts are not loaded."""
    SHUTTING_DOWN = "shutting_down"
    """API or worker: during the shutdown on SIGTERM."""


_armed: dict[Failpoint, float] = {}
_hits: list[Path] = []


def arm(failpoints: Mapping[Failpoint, float], *, hits: Path | None) -> None:
    """Arm failpoints with their probabilities.

    Each hit adds a line to `hits`. Without that file no failpoint kills any more: the chaos runner ends a storm by
    removing it.
    """
    _armed.clear()
    _armed.update(failpoints)
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
