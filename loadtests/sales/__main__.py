"""A sale from the command line: its own stack, the on-sale, the figures, and the verdict on the books."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from domain.platform.settings import load_settings
from loadtests.sales.figures import figures_of, table
from loadtests.sales.profiles import PROFILES, SHMOOCON_2016
from loadtests.sales.replay import FAILURES, SaleRun, replay
from loadtests.sales.stack import sale_stack
from loadtests.sales.target import loopback_url
from ops.evidence.checks import check, verdict

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from domain.platform.settings import Settings
    from loadtests.sales.replay import Replayed

REPORT = Path(__file__).parent.parent / "report"
"""The folder of locust's pages and tables; not part of the repository."""

EXPLANATION = Path(__file__).parent.parent / "README.md"
"""The page that explains buyers, figures and checks."""

SECONDS_DEFAULT = 120
"""The longest run; a rush that is served is over in 15 s."""

RUNS_MAX = 50

EXIT_VIOLATED, EXIT_NOT_RUN = 1, 2


def main() -> None:
    """Run from the command line; exits with 1 if a check fails, with 2 if nothing could be measured."""
    options = _options()
    try:
        all_well = _all_runs(options)
    except FAILURES as error:
        _say(f"{type(error).__name__}: {error}")
        sys.exit(EXIT_NOT_RUN)
    sys.exit(0 if all_well else EXIT_VIOLATED)


def _options() -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.sales", description=__doc__)
    option = parser.add_argument
    option("--profile", choices=list(PROFILES), default=SHMOOCON_2016.name, help="the on-sale to replay")
    option("--buyers", type=int, help="the number of buyers; by default that of the profile")
    option("--seconds", type=int, default=SECONDS_DEFAULT, help="the longest run, in seconds")
    option("--runs", type=int, choices=range(1, RUNS_MAX + 1), default=1, metavar="N", help="runs, one after the other")
    option("--url", help="a running stack on this machine; DATABASE_URL and the others name its servers")
    return parser.parse_args()


def _all_runs(options: Namespace) -> bool:
    """Hold each sale; returns whether every check of every run held."""
    profile = PROFILES[options.profile]
    if options.buyers is not None:
        profile = profile.scaled(options.buyers)
    all_well = True
    with (
        tempfile.TemporaryDirectory(prefix="onsale-load-") as folder,
        _stack(options.url, Path(folder)) as (url, settings),
    ):
        for number in range(1, options.runs + 1):
            name = profile.name if options.runs == 1 else f"{profile.name}-{number}"
            run = SaleRun(
                url=url,
                settings=settings,
                profile=profile,
                name=name,
                seconds=options.seconds,
                folder=Path(folder),
                report=REPORT,
            )
            all_well &= _report(run)
    return all_well


@contextmanager
def _stack(url: str | None, folder: Path) -> Iterator[tuple[str, Settings]]:
    """The address of an API, and settings with the addresses of its servers."""
    if url is not None:
        yield loopback_url(url), load_settings()
        return
    REPORT.mkdir(exist_ok=True)
    with sale_stack(folder, log=REPORT / "stack.log", say=_say) as stack:
        yield stack.url, stack.settings()


def _report(run: SaleRun) -> bool:
    """Hold one sale and print its figures; returns whether every check held."""
    _say(f"{run.name}: {run.profile.buyers} buyers are signed in")
    replayed = asyncio.run(replay(run))
    found = check(replayed.evidence)
    _say(summary(run, replayed, found))
    return not any(found.values())


def summary(run: SaleRun, replayed: Replayed, found: dict[str, list[str]]) -> str:
    """The figures of a sale, the verdict, and the paths of locust's report and of the explanation."""
    figures = figures_of(replayed.evidence.answers, replayed.closing, tickets=run.profile.tickets)
    return (
        f"\n{table(figures, run.profile, run=run.name)}\n\n{verdict(found)}\n\n"
        f"Locust's report: {run.report / run.name}.html\nWhat the figures mean: {EXPLANATION}\n"
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
