"""The load from the command line: a stack of its own, the on-sale, its figures, and the verdict on the books."""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx
from msgspec import Struct
from redis.exceptions import RedisError

from domain.kernel.refusals import Unavailable
from domain.platform.settings import Settings, SettingsRefused, load_settings
from loadtests.sales.figures import figures_of, table
from loadtests.sales.profiles import PROFILES, SHMOOCON_2016
from loadtests.sales.replay import ReplayFailed, Run, replay
from loadtests.sales.setup import SetupRefused
from loadtests.sales.stack import Stack, StackFailed
from loadtests.sales.target import TargetRefused, loopback_url
from ops.evidence.checks import check, verdict

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from loadtests.sales.replay import Replayed

REPORT = Path(__file__).parent.parent / "report"
"""Where locust's pages and tables are left; not part of the repository."""

EXPLANATION = Path(__file__).parent.parent / "README.md"
"""What a buyer does, what is measured and what each check means."""

SECONDS_DEFAULT = 120
"""A run is cut short after so many; a rush that is served is over in 15 s."""

RUNS_MAX = 50

EXIT_VIOLATED, EXIT_NOT_RUN = 1, 2

NOT_RUN = (
    *(TargetRefused, SettingsRefused, SetupRefused, StackFailed, ReplayFailed, ValueError),
    *(httpx.HTTPError, OSError, RedisError, asyncpg.PostgresError, Unavailable),
)
"""A run that could not be had, or whose books could not be read: then nothing is known of it."""


class Place(Struct, frozen=True):
    """Where sales are held: the API, and the settings that lead to the servers behind it."""

    url: str
    settings: Settings


def main() -> None:
    """Run from the command line; exits with 1 when a check fails, with 2 when nothing could be measured."""
    options = _options()
    try:
        all_well = _all_runs(options)
    except NOT_RUN as error:
        _say(f"{type(error).__name__}: {error}")
        sys.exit(EXIT_NOT_RUN)
    sys.exit(0 if all_well else EXIT_VIOLATED)


def _options() -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.sales", description=__doc__)
    option = parser.add_argument
    option("--profile", choices=list(PROFILES), default=SHMOOCON_2016.name, help="the on-sale to replay")
    option("--buyers", type=int, help="how many come, instead of as many as the profile says")
    option("--seconds", type=int, default=SECONDS_DEFAULT, help="a run is cut short after so many")
    option("--runs", type=int, choices=range(1, RUNS_MAX + 1), default=1, metavar="N", help="runs, one after the other")
    option("--url", help="a stack that runs already, on this machine; DATABASE_URL and the others lead to its servers")
    return parser.parse_args()


def _all_runs(options: Namespace) -> bool:
    """Whether every check of every run held."""
    profile = PROFILES[options.profile]
    if options.buyers is not None:
        profile = profile.scaled(options.buyers)
    all_well = True
    with tempfile.TemporaryDirectory(prefix="onsale-load-") as folder, _place(options.url, Path(folder)) as place:
        for number in range(1, options.runs + 1):
            name = profile.name if options.runs == 1 else f"{profile.name}-{number}"
            run = Run(
                url=place.url,
                settings=place.settings,
                profile=profile,
                name=name,
                seconds=options.seconds,
                folder=Path(folder),
                report=REPORT,
            )
            all_well &= _report(run)
    return all_well


@contextmanager
def _place(url: str | None, folder: Path) -> Iterator[Place]:
    if url is not None:
        yield Place(loopback_url(url), load_settings())
        return
    # Each buyer has a connection, and the API inherits how many files this process may open.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    REPORT.mkdir(exist_ok=True)
    with Stack(folder, log=REPORT / "stack.log", say=_say) as stack:
        yield Place(stack.url, stack.settings())


def _report(run: Run) -> bool:
    """Hold one sale and say how it went; whether every check held."""
    _say(f"{run.name}: {run.profile.buyers} buyers come to the door")
    replayed = asyncio.run(replay(run))
    found = check(replayed.evidence)
    _say(summary(run, replayed, found))
    return not any(found.values())


def summary(run: Run, replayed: Replayed, found: dict[str, list[str]]) -> str:
    """The figures of a sale, which checks held, where locust's report is, and where the figures are explained."""
    figures = figures_of(replayed.evidence.answers, replayed.closing, tickets=run.profile.tickets)
    return (
        f"\n{table(figures, run.profile, run=run.name)}\n\n{verdict(found)}\n\n"
        f"Locust's report: {run.report / run.name}.html\nWhat the figures mean: {EXPLANATION}\n"
    )


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
