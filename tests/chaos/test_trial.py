"""A short storm on a real stack, every promise checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.chaos.schedule import EVERYTHING
from ops.chaos.trial import Plan, run_trial

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 6.0
BUSY_SECONDS = 20.0
"""Other tests run beside this one: five seconds are measured by `onsale chaos`."""


async def test_a_short_storm_breaks_no_promise(tmp_path: Path) -> None:
    plan = Plan(
        seed=1,
        durability="postgres",
        seconds=SECONDS,
        buyers=12,
        mix=dict(EVERYTHING),
        final_seconds_max=BUSY_SECONDS,
    )

    result = await run_trial(plan, tmp_path, print)

    assert result.broken == [], result.violations
    assert result.accepted > 0
    assert sum(result.faults.values()) > 0
