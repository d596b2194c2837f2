"""Many trials, one after the other, each with its own seed and stack, and their report."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from ops.chaos import report
from ops.chaos.recovery import measure
from ops.chaos.schedule import EVERYTHING, NO_LOSS
from ops.chaos.trial import Result, TrialPlan, run_trial
from ops.embedded.server import ServerFailed
from ops.evidence.checks import verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ops.chaos.recovery import Recovered

KEPT_OF_A_BROKEN_TRIAL = ("*.log", "*.jsonl")

LOSSY_SEEDS = 5
"""With DURABILITY=redis, each fifth seed also loses Redis' memory.

Bookings that were only acknowledged may then be lost; all other promises hold.
"""


def plans(*, seeds: range, seconds: float, durability: str) -> list[TrialPlan]:
    """A plan for each seed. Faults that a durability does not promise to survive happen in some seeds only."""
    return [
        TrialPlan(
            seed=seed,
            durability=durability,
            seconds=seconds,
            mix=dict(EVERYTHING if durability == "postgres" or seed % LOSSY_SEEDS == 0 else NO_LOSS),
        )
        for seed in seeds
    ]


def run_campaign(  # noqa: PLR0913  (what the command line asks for)
    folder: Path,
    *,
    seeds: range,
    seconds: float,
    durabilities: Sequence[str],
    recovery: bool,
    say: Callable[[str], None],
) -> bool:
    """Run the trials of each durability and print their report; returns whether every promise was kept."""
    hush()
    todo = [plan for durability in durabilities for plan in plans(seeds=seeds, seconds=seconds, durability=durability)]
    results = campaign(todo, folder, say)
    measured = measure_recovery(say) if recovery else []
    path = folder / "report.json"
    write_report(path, results, measured)
    say("\n".join(["", report.breakdown(results), "", report.table(results, measured), "", report.bar_line(results)]))
    say(f"\n{path}")
    return not any(result.broken for result in results) and all(each.kept for each in measured)


def hush() -> None:
    """Silence the engine's logs in this process: the findings of trials are printed in their own words."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def measure_recovery(say: Callable[[str], None]) -> list[Recovered]:
    """Measure the recovery on a stack of its own."""
    with tempfile.TemporaryDirectory(prefix="onsale-chaos-", ignore_cleanup_errors=True) as scratch:
        return asyncio.run(measure(Path(scratch), say))


def campaign(todo: Sequence[TrialPlan], folder: Path, say: Callable[[str], None]) -> list[Result]:
    """Run every trial; leaves `report.json` in `folder`, and the logs and answers of trials that broke."""
    folder.mkdir(parents=True, exist_ok=True)
    results = []
    for plan in todo:
        say(f"seed {plan.seed}, DURABILITY={plan.durability}: {plan.seconds:.0f} s, {len(plan.faults)} faults planned")
        try:
            result = try_plan(plan, folder, say)
        except* ServerFailed as failures:
            # That a database server comes back is not promised by the engine; its log is kept beside the report.
            say(f"seed {plan.seed} could not be run, and is held again: {failures.exceptions[0]}")
            result = try_plan(plan, folder, say)
        results.append(result)
        say(report.line(result))
        if result.broken:
            say(verdict({name: result.violations[name] for name in result.broken}))
        write_report(folder / "report.json", results)
    return results


def try_plan(plan: TrialPlan, folder: Path, say: Callable[[str], None]) -> Result:
    """Run one trial in a temporary folder; logs and answers of a broken trial are kept."""
    result = None
    with tempfile.TemporaryDirectory(prefix="onsale-chaos-", ignore_cleanup_errors=True) as scratch:
        try:
            result = asyncio.run(run_trial(plan, Path(scratch), say))
        finally:
            if result is None or result.broken:
                keep(Path(scratch), folder / f"{plan.durability}-{plan.seed}")
    return result


def keep(scratch: Path, folder: Path) -> None:
    """Copy the logs and answers of a trial."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for pattern in KEPT_OF_A_BROKEN_TRIAL:
        for path in [*scratch.glob(pattern), *(scratch / "data" / "log").glob(pattern)]:
            shutil.copy(path, folder)


def write_report(path: Path, results: Sequence[Result], measured: Sequence[Recovered] = ()) -> None:
    """Write the results as JSON. This is done after each trial, in case that the run is cut short."""
    facts = {**report.as_facts(results), "recovery": measured, "trials": results}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(facts)))
