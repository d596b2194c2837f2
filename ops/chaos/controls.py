"""Negative controls: without a protection, a check must fail; otherwise the checker proves nothing.

Each control is a trial that provokes the faults against which the protection exists. With the protection, the watched
checks must pass. Without it, one of them must fail within SEEDS_MAX seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

from domain.platform.failpoints import Failpoint
from ops.chaos.buyers import Habits
from ops.chaos.campaign import hush, try_plan
from ops.chaos.protections import Protection
from ops.chaos.schedule import SELLER_NAMES, WORKER_NAMES, FaultKind, ScheduledFault
from ops.chaos.trial import TrialPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

SEEDS_MAX = 3
SECONDS = 8.0

SELLERS_TO_QUEUE = tuple(f"{name}:queue" for name in SELLER_NAMES)
WORKER_TO_POSTGRES = tuple(f"{name}:postgres" for name in WORKER_NAMES)

LATE_WORKER = tuple(
    fault
    for second in (1.0, 5.0, 9.0, 13.0)
    for fault in (
        ScheduledFault(second, FaultKind.LINK_STALLED, "worker.1:postgres", 2.5),
        ScheduledFault(second + 0.5, FaultKind.REDIS_WIPE, "redis", 0.0),
    )
)
"""A worker has read bookings and cannot write them while Redis is wiped and the other worker rebuilds it."""

QUIET = TrialPlan(seed=1, seconds=SECONDS, mix={}, failpoints={}, faults_per_second=0.5, final_seconds_max=10.0)
"""A crowd and no fault."""


class Control(Struct, frozen=True, kw_only=True):
    """A trial without a protection and one with it: a `watched` check must fail in the first and none in the other."""

    name: str
    without: TrialPlan
    with_it: TrialPlan
    watched: frozenset[str]


class ControlResult(Struct, frozen=True, kw_only=True):
    """The watched checks that failed without the protection, after `seeds` seeds, and those that failed with it."""

    name: str
    seeds: int
    failed: list[str]
    failed_with_it: list[str]

    @property
    def holds(self) -> bool:
        """Whether a check failed without the protection, and none with it."""
        return bool(self.failed) and not self.failed_with_it


def _control(protection: Protection, plan: TrialPlan, *watched: str) -> Control:
    return Control(
        name=protection.value,
        without=structs.replace(plan, off=plan.off | {protection}),
        with_it=plan,
        watched=frozenset(watched),
    )


CONTROLS: tuple[Control, ...] = (
    _control(Protection.SIZE_CHECK, QUIET, "nothing_is_oversold_in_redis"),
    _control(
        Protection.CAPACITY_CHECK,
        structs.replace(QUIET, off=frozenset({Protection.SIZE_CHECK})),
        "nothing_is_oversold_in_postgresql",
    ),
    _control(
        Protection.RELEASE_ONCE,
        structs.replace(QUIET, habits=Habits(cancel=0.4, twice=0.4)),
        "the_books_never_drifted",
        "redis_and_rows_agree",
        "nothing_is_oversold_in_redis",
    ),
    _control(
        Protection.SETTLE_VERSION,
        structs.replace(QUIET, habits=Habits(regret=0.8), slow_links=WORKER_TO_POSTGRES),
        "no_cancellation_is_lost",
        "no_status_goes_back",
    ),
    _control(
        Protection.EPOCH_IN_REDIS,
        structs.replace(QUIET, seconds=12.0, durability="postgres", mix={FaultKind.REDIS_STALE: 1}),
        "no_accepted_booking_is_lost",
        "the_books_never_drifted",
        "redis_and_rows_agree",
    ),
    _control(
        Protection.EPOCH_IN_POSTGRES,
        # One worker is late with what it read, the other one rebuilds meanwhile.
        structs.replace(
            QUIET,
            seconds=16.0,
            scripted=LATE_WORKER,
            dead_links=("worker.2:queue",),
        ),
        "the_books_never_drifted",
        "redis_and_rows_agree",
    ),
    _control(
        Protection.STABLE_ID,
        structs.replace(QUIET, failpoints={Failpoint.RESERVED: 0.03}, habits=Habits(hang_up=0.3)),
        "one_booking_per_key",
        "every_row_was_asked_for",
    ),
    _control(
        Protection.LOOKUP,
        structs.replace(QUIET, durability="postgres", mix={FaultKind.REDIS_WIPE: 1}, habits=Habits(replay=0.5)),
        "no_retry_is_refused",
        "the_books_never_drifted",
        "redis_and_rows_agree",
    ),
    _control(
        Protection.SWEEP,
        structs.replace(QUIET, dead_links=SELLERS_TO_QUEUE),
        "no_accepted_booking_is_lost",
        "nothing_is_left_to_persist",
        "everything_was_final_in_time",
    ),
    _control(
        Protection.INTENT,
        structs.replace(QUIET, durability="postgres", mix={FaultKind.REDIS_WIPE: 1}, slow_links=WORKER_TO_POSTGRES),
        "no_accepted_booking_is_lost",
    ),
    _control(
        Protection.LATE_CLAIMS,
        QUIET,
        "no_counter_is_oversold",
        "redis_and_rows_agree",
        "the_books_never_drifted",
    ),
    _control(
        Protection.DEADLINE,
        # Holds stay held after their deadline, unless somebody is short of what they took.
        structs.replace(QUIET, off=frozenset({Protection.EXPIRY}), hold_buyers=24),
        "no_gate_is_jumped",
    ),
    _control(Protection.EXPIRY, QUIET, "no_hold_outlives_its_deadline"),
    _control(
        Protection.RETURNS_FIRST,
        structs.replace(QUIET, buyers=8, hold_buyers=24, off=frozenset({Protection.BATCHES})),
        "nobody_is_rejected",
    ),
    Control(
        name="DURABILITY=postgres",
        without=structs.replace(QUIET, mix={FaultKind.REDIS_WIPE: 1}, slow_links=WORKER_TO_POSTGRES, excuses=False),
        with_it=structs.replace(
            QUIET, durability="postgres", mix={FaultKind.REDIS_WIPE: 1}, slow_links=WORKER_TO_POSTGRES
        ),
        watched=frozenset({"no_accepted_booking_is_lost"}),
    ),
)
"""One for each protection of the engine, and one for the durability that survives the loss of Redis."""


def run_all(controls: Sequence[Control], folder: Path, *, say: Callable[[str], None]) -> bool:
    """Run the controls, and print a line for each and a table; returns whether every control holds."""
    hush()
    outcomes = []
    for control in controls:
        outcomes.append(run_control(control, folder, say))
        say(_line(outcomes[-1]))
    say("\n" + table(outcomes))
    return all(outcome.holds for outcome in outcomes)


def run_control(control: Control, folder: Path, say: Callable[[str], None]) -> ControlResult:
    """Run the trial with the protection once, and without it until a check fails."""
    say(f"{control.name}: with it")
    failed_with_it = _failed(control, control.with_it, folder / control.name / "with", say)
    failed: list[str] = []
    seed = 0
    while not failed and seed < SEEDS_MAX:
        seed += 1
        say(f"{control.name}: without it, seed {seed}")
        failed = _failed(control, structs.replace(control.without, seed=seed), folder / control.name / "without", say)
    return ControlResult(name=control.name, seeds=seed, failed=failed, failed_with_it=failed_with_it)


def table(outcomes: Sequence[ControlResult]) -> str:
    """The results of the controls as a table in Markdown."""
    rows = ["| without | failed | after seeds | failed with it |", "| --- | --- | ---: | --- |"]
    for outcome in outcomes:
        failed = ", ".join(name.replace("_", " ") for name in outcome.failed) or "**nothing**"
        failed_with_it = ", ".join(name.replace("_", " ") for name in outcome.failed_with_it) or "none"
        rows.append(f"| `{outcome.name}` | {failed} | {outcome.seeds} | {failed_with_it} |")
    return "\n".join(rows)


def _failed(control: Control, plan: TrialPlan, folder: Path, say: Callable[[str], None]) -> list[str]:
    return sorted(control.watched & set(try_plan(plan, folder, say).broken))


def _line(outcome: ControlResult) -> str:
    verdict = "ok" if outcome.holds else "FAIL"
    without = f"failed {outcome.failed} after {outcome.seeds} seeds"
    return f"{verdict:4} {outcome.name}: {without}, with it {outcome.failed_with_it}"
