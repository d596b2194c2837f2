"""The servers of an operator's command: by URL, of the running stack, or started for the command."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from domain.platform.settings import load_settings
from ops.embedded.folder_lock import LOCK_FILE, AlreadyRunning, held
from ops.embedded.stack import EmbeddedStack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from domain.platform.settings import Settings

OTHER_COMMAND_SECONDS_MAX = 30.0
"""How long to wait for another command that started the servers; it takes seconds."""

START_SECONDS_MAX = 90.0
"""How long to wait for a start; replaying the servers' files can take most of a minute."""

POLL_SECONDS = 0.1
"""Between two checks."""


class StackAbsent(Exception):
    """DATA_DIR has no stack; nothing was made, because the path may be mistyped."""

    def __init__(self, data_dir: Path) -> None:
        """Name the folder, and the command that makes a stack."""
        where = data_dir.absolute()
        super().__init__(
            f"there is no stack in {where}: set DATA_DIR to the folder of yours; `onsale up` makes a new one"
        )


class StillStarting(Exception):
    """The servers of `onsale up` cannot be used yet."""


@contextlib.contextmanager
def reached(settings: Settings) -> Iterator[Settings]:
    """Yield settings with every URL set; the servers run at least until the context ends.

    Raises:
        StackAbsent: there is no embedded stack in DATA_DIR.
        AlreadyRunning, StillStarting: another process holds the embedded servers for too long.
        ServerFailed, BinaryMissing, FolderRefused: the embedded servers did not start.
    """
    if not settings.embedded:
        yield settings
        return
    check_present(settings.data_dir)
    stack = EmbeddedStack(settings.data_dir)
    with contextlib.ExitStack() as started:
        if _hold(settings.data_dir, started):
            # `onsale up` may have held the folder during the first check without making a stack.
            _check_made(settings.data_dir)
            started.enter_context(stack)
        yield load_settings(stack.environment())


def check_present(data_dir: Path) -> None:
    """Raise StackAbsent unless a stack was made in `data_dir`, or is being made."""
    if not (data_dir / LOCK_FILE).exists():
        _check_made(data_dir)


def _check_made(data_dir: Path) -> None:
    if not EmbeddedStack(data_dir).postgres.pgdata.is_dir():
        raise StackAbsent(data_dir)


def _hold(data_dir: Path, started: contextlib.ExitStack) -> bool:
    """Hold the data folder; False if `onsale up` holds it and its servers can be used."""
    began_at = time.monotonic()
    while True:
        try:
            started.enter_context(held(data_dir, port=None))
        except AlreadyRunning as running:
            if _can_be_used(running, waited_seconds=time.monotonic() - began_at):
                return False
        else:
            return True
        time.sleep(POLL_SECONDS)


def _can_be_used(running: AlreadyRunning, *, waited_seconds: float) -> bool:
    """Whether the holder's servers answer; raises AlreadyRunning or StillStarting if that takes too long."""
    holder = running.holder
    if holder is None or holder.port is None:
        if waited_seconds > OTHER_COMMAND_SECONDS_MAX:
            raise running
        return False
    if not holder.serving and waited_seconds > START_SECONDS_MAX:
        message = f"process {holder.pid} is still starting the stack on port {holder.port}; see its output"
        raise StillStarting(message)
    return holder.serving
