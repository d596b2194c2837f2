"""The heartbeat: a file that a worker touches while it runs, for the supervisor of its process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from domain.platform.settings import SettingsRefused

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger()

BEAT_S = 1.0
"""Shorter than the interval of a health check, which is five seconds."""


def begin(path: Path) -> None:
    """Touch the file for the first time; raises SettingsRefused when it cannot be written."""
    try:
        path.touch()
    except OSError as error:
        message = f"HEARTBEAT_FILE: {path} cannot be written: {error.strerror}"
        raise SettingsRefused(message) from error


async def beat_once(path: Path) -> None:
    """Touch the file. Its age shows that this process hangs or is gone."""
    try:
        path.touch()  # noqa: ASYNC240  (a file in memory)
    except OSError as error:
        log.warning("heartbeat_unwritten", cause=str(error))
