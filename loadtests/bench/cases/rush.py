"""The rush: a real on-sale by locust, on the same cores as the stack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.sales.figures import Figures, figures_of, table
from loadtests.sales.profiles import SHMOOCON_2019, SaleProfile
from loadtests.sales.replay import SaleRun, replay
from loadtests.sales.stack import sale_stack
from ops.evidence.checks import check

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUSH_SECONDS = 120
"""A rush ends after this; normally it takes about ten seconds."""

NAME = "bench-rush"


class Rush(Struct, frozen=True, kw_only=True):
    """The results of a rush; `violated` are the promises that the books break afterwards."""

    profile: SaleProfile
    figures: Figures
    violated: list[str]

    @property
    def table(self) -> str:
        """The table of the sale, as `python -m loadtests.sales` prints it, and the broken promises."""
        sale = table(self.figures, self.profile, run=NAME)
        return f"```\n{sale}\nfailed: {self.figures.failed}; promises broken: {', '.join(self.violated) or 'none'}\n```"


def measure_rush(folder: Path, report: Path, *, buyers: int | None, say: Callable[[str], None]) -> Rush:
    """Hold the sale on a stack of its own and check the books.

    Raises:
        ProcessFailed, ReplayFailed, SetupRefused: it could not be held.
    """
    profile = SHMOOCON_2019 if buyers is None else SHMOOCON_2019.scaled(buyers)
    report.mkdir(exist_ok=True)
    with sale_stack(folder, log=report / f"{NAME}.log", say=say) as stack:
        say(f"rush: {profile.buyers} buyers")
        run = SaleRun(
            url=stack.url,
            settings=stack.settings(),
            profile=profile,
            name=NAME,
            seconds=RUSH_SECONDS,
            folder=folder,
            report=report,
        )
        replayed = asyncio.run(replay(run))
    figures = figures_of(replayed.evidence.answers, replayed.closing, tickets=profile.tickets)
    violated = [name for name, found in check(replayed.evidence).items() if found]
    return Rush(profile=profile, figures=figures, violated=violated)
