"""Runs the hold buyers of a trial: `python -m ops.chaos.holds`, started by the fork server."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import uvloop

from domain.engine import open_stores
from domain.platform.logs import configure_logs
from domain.platform.settings import load_settings
from ops.chaos.holds.buyers import LOOK_SECONDS, HoldCrowd
from ops.chaos.holds.files import FOLDER, HoldsFiles


async def main() -> None:
    """Open the stores as an API process does, and buy until the trial ends; then wait to be killed."""
    settings = load_settings()
    configure_logs(settings)
    files = HoldsFiles(Path(os.environ[FOLDER]))
    async with open_stores(settings) as stores:
        while not files.begun:  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(LOOK_SECONDS)
        if not files.done:
            await HoldCrowd(files.plan(), files, stores.box_office, stores.payment_actions).shop()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
