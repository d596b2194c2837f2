"""The heartbeat: a file that a worker touches while it serves, for whoever watches its process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from domain.platform.settings import SettingsRefused

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

BEAT_S = 1.0
"""A health check that asks every five seconds finds a file that is younger."""


def begin(path: Path) -> None:
    """Touch the file for the first time; raises SettingsRefused when it cannot be written."""
    try:
        path.touch()
    except OSError as error:
        message = f"HEARTBEAT_FILE: {path} cannot be written: {error.strerror}"
        raise SettingsRefused(message) from error


async def beat(path: Path) -> None:
    """Touch the file until cancelled: it gets old when this process hangs or is gone."""
    while True:
        try:
            path.touch()  # noqa: ASYNC240  (a file in memory)
        except OSError as error:
            log.warning("heartbeat_unwritten", cause=str(error))
        await asyncio.sleep(BEAT_S)
