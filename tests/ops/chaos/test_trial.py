"""A short storm on a real stack; every promise is checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.chaos.schedule import EVERYTHING, FaultKind, ScheduledFault
from ops.chaos.trial import TrialPlan, run_trial
from ops.evidence.answers import SERVER_ERRORS, read_answers

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 6.0
OUTAGE_SECONDS = 8.0
"""An outage of a minute shows nothing more: bookings are refused after five seconds of unpersisted ones."""

HOLD_MS = (200, 1_000)
"""Shorter than in a storm of `onsale chaos`, so that the last ones end sooner."""

BUSY_SECONDS = 20.0
"""Other tests run beside this one. `onsale chaos` measures against five seconds."""


async def test_a_short_storm_breaks_no_promise(tmp_path: Path) -> None:
    plan = TrialPlan(
        seed=1,
        durability="postgres",
        seconds=SECONDS,
        buyers=12,
        hold_buyers=6,
        hold_ms=HOLD_MS,
        mix=dict(EVERYTHING),
        final_seconds_max=BUSY_SECONDS,
    )

    result = await run_trial(plan, tmp_path, print)

    assert result.broken == [], result.violations
    assert result.accepted > 0
    assert sum(result.faults.values()) > 0


async def test_postgresql_away_for_a_while_loses_nothing(tmp_path: Path) -> None:
    outage = ScheduledFault(at_s=1.0, kind=FaultKind.POSTGRES_KILL, target="postgres", lasts_s=OUTAGE_SECONDS)
    plan = TrialPlan(
        seed=1,
        seconds=OUTAGE_SECONDS + 4.0,
        hold_buyers=6,
        hold_ms=HOLD_MS,
        buyers=60,  # an account that an event has seen before needs PostgreSQL to book again
        mix={},
        failpoints={},
        scripted=(outage,),
        final_seconds_max=BUSY_SECONDS,
    )

    result = await run_trial(plan, tmp_path, print)

    answers = read_answers(tmp_path / "answers.jsonl")
    began_s = min(answer.sent_s for answer in answers) + outage.at_s
    away = [answer for answer in answers if began_s + 0.2 < answer.sent_s < began_s + OUTAGE_SECONDS]
    assert result.broken == [], result.violations
    assert any(answer.accepted for answer in away)
    assert {answer.code for answer in away if answer.status == 503} <= {"unavailable", "persistence_lagging"}
    assert not any(answer.status in SERVER_ERRORS and answer.status != 503 for answer in answers)
    assert any(answer.accepted for answer in answers if answer.sent_s > began_s + OUTAGE_SECONDS)
