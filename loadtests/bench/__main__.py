"""The bench from the command line: `python -m loadtests.bench`."""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from loadtests.bench.against.build import revision, working_tree
from loadtests.bench.cases.growth import GrowthBench
from loadtests.bench.cases.rush import measure_rush
from loadtests.bench.load.generator import Unexpected
from loadtests.bench.plan import BOUNDS, THEMES, growth_plan_of, plan_of
from loadtests.bench.report.bars import bars_of
from loadtests.bench.report.pictures import pictures
from loadtests.bench.report.results import Measurements, Results
from loadtests.bench.report.tables import report
from loadtests.bench.standard import compare, measure
from loadtests.bench.turns import BenchRun
from loadtests.sales.replay import FAILURES

if TYPE_CHECKING:
    from argparse import Namespace

    from loadtests.bench.plan import BenchPlan

RESULTS = Path(__file__).parent.parent / "results"
"""The folder for runs that are kept with `--keep`; part of the repository."""

LATEST = Path(__file__).parent.parent / "report"
"""The folder for the report of every run; not part of the repository."""

QUICK_RUSH_BUYERS = 300

EXIT_NOT_MET, EXIT_FAILED = 1, 2


def main() -> None:
    """Run; exits with 2 when an answer was wrong, and with `--strict` with 1 when a bar is not met."""
    options = _options()
    found: list[Results] = []
    try:
        results = _run(options, found)
    except (Unexpected, *FAILURES) as error:
        for unfinished in found:
            _say(f"\nuntil it failed:\n\n{report(unfinished)}\n")
        _say(f"{type(error).__name__}: {error}")
        sys.exit(EXIT_FAILED)
    _say(f"\n{report(results)}\n")
    _keep(results, options.out, "against" if options.against else "bench")
    if options.keep:
        _keep(results, RESULTS, options.keep)
    missed = any(bar.met is False for bar in bars_of(results))
    sys.exit(EXIT_NOT_MET if missed and options.strict else 0)


def _options() -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    option = parser.add_argument
    option("--only", default="", metavar="a,b,…", help="the cases to measure; all by default")
    for name, (most, what) in BOUNDS.items():
        option(f"--{name.replace('_', '-')}", type=int, metavar="N", help=f"{what}; at most {most}")
    option("--against", default="", metavar="REV", help="measure this build and that revision in turns")
    option("--growth", action="store_true", help="measure what growth costs, instead of the standard bench")
    option("--themes", default="", metavar="events,…", help=f"what grows, of {', '.join(THEMES)}; all by default")
    option("--rush", action="store_true", help="hold a real on-sale with locust, instead of the standard bench")
    option("--all", action="store_true", help="the standard bench, growth and rush")
    option("--quick", action="store_true", help="one short round, to see that everything works")
    option("--out", type=Path, default=LATEST, metavar="FOLDER", help="the folder for the report and its pictures")
    option("--keep", metavar="NAME", help="keep the report and its pictures in loadtests/results")
    option("--strict", action="store_true", help="exit with 1 when a bar is not met")
    return parser.parse_args()


def _run(options: Namespace, found: list[Results]) -> Results:
    """Measure; `found` gets the results before they have figures, so that they survive a failure."""
    plan = plan_of(options)
    results = Results(
        started_at=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        machine=_machine(),
        options=structs.asdict(plan),
        cases=Measurements(),
    )
    found.append(results)
    with tempfile.TemporaryDirectory(prefix="onsale-bench-") as folder:
        _measure(options, plan, BenchRun(plan.connections, results, Path(folder), _say))
    return results


def _machine() -> dict[str, object]:
    """What a reader of figures wants to know of the machine."""
    cpus = Path("/proc/cpuinfo").read_text() if sys.platform == "linux" else ""
    named = re.search(r"^model name\s*: (.*)$", cpus, re.MULTILINE)
    return {
        "cpu": named[1] if named else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_before": [round(load, 2) for load in os.getloadavg()],
    }


def _measure(options: Namespace, plan: BenchPlan, run: BenchRun) -> None:
    if options.against:
        _say(f"building {options.against}")
        compare(run, plan, (working_tree(), revision(options.against)))
        return
    if options.all or not (options.growth or options.rush):
        measure(run._replace(folder=_made(run.folder / "standard")), plan)
    if options.all or options.growth:
        GrowthBench(run._replace(folder=_made(run.folder / "growth")), growth_plan_of(options)).measure()
    if options.all or options.rush:
        buyers = QUICK_RUSH_BUYERS if options.quick else None
        run.results.rush = measure_rush(_made(run.folder / "rush"), options.out, buyers=buyers, say=_say)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _keep(results: Results, folder: Path, name: str) -> None:
    """Write the report as JSON and markdown, with its pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.joinpath(f"{name}.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    folder.joinpath(f"{name}.md").write_text(f"{report(results)}\n")
    for theme, picture in pictures(results).items():
        folder.joinpath(f"{name}-{theme}.svg").write_text(picture)
    _say(f"kept as {folder}/{name}.md, .json and -*.svg")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
