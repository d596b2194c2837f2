"""The rush: a real on-sale by locust, on the same cores as the stack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.sales.figures import figures_of
from loadtests.sales.profiles import PROFILES, SHMOOCON_2019
from loadtests.sales.replay import SaleRun, replay
from loadtests.sales.stack import raise_open_files_limit, sale_stack
from ops.evidence.answers import Outcome
from ops.evidence.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from loadtests.sales.figures import Figures

RUSH_SECONDS = 120
"""A rush ends after this; normally it takes about ten seconds."""

FAILED = ": failed"


class Rush(Struct, frozen=True, kw_only=True):
    """The results of a rush; a figure that does not exist is None.

    `failed` counts, by kind, answers that were neither right nor a documented refusal; `violated` are the promises
    that the books break afterwards.
    """

    profile: str
    buyers: int
    figures: dict[str, float | None]
    failed: dict[str, int]
    violated: list[str]


def measure_rush(folder: Path, report: Path, *, buyers: int | None, say: Callable[[str], None]) -> Rush:
    """Hold the sale on a stack of its own and check the books.

    Raises:
        ProcessFailed, ReplayFailed, SetupRefused: it could not be held.
    """
    profile = PROFILES[SHMOOCON_2019.name]
    if buyers is not None:
        profile = profile.scaled(buyers)
    raise_open_files_limit()
    report.mkdir(exist_ok=True)
    with sale_stack(folder, log=report / "bench-rush.log", say=say) as stack:
        say(f"rush: {profile.buyers} buyers")
        run = SaleRun(
            url=stack.url,
            settings=stack.settings(),
            profile=profile,
            name="bench-rush",
            seconds=RUSH_SECONDS,
            folder=folder,
            report=report,
        )
        replayed = asyncio.run(replay(run))
    figures = figures_of(replayed.evidence.answers, replayed.closing, tickets=profile.tickets)
    violated = [name for name, found in check(replayed.evidence).items() if found]
    return rush_of(figures, profile=profile.title, buyers=profile.buyers, violated=violated)


def rush_of(figures: Figures, *, profile: str, buyers: int, violated: list[str]) -> Rush:
    """The rush by the figures of a run in which somebody was accepted."""
    everything, accepted = figures.rates["requests"], figures.rates[Outcome.ACCEPTED.value]
    refused = figures.rates.get(Outcome.REFUSED.value)
    return Rush(
        profile=profile,
        buyers=buyers,
        figures={
            "requests": everything.times.count,
            "requests in the busiest second": everything.per_second_peak,
            "accepted": accepted.times.count,
            "accepted, p50 ms": accepted.times.p50_ms,
            "accepted, p99 ms": accepted.times.p99_ms,
            "refused": refused.times.count if refused else 0,
            "all tickets held after, seconds": figures.held_seconds,
            "202 to confirmed, p99 ms": figures.confirmed.p99_ms if figures.confirmed else None,
            "the generator's busiest second, percent of a core": figures.generator_share_peak * 100,
        },
        failed={name: rate.times.count for name, rate in figures.rates.items() if name.endswith(FAILED)},
        violated=violated,
    )
