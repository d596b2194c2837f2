"""How an operator's command comes to the servers: by URL, through the running stack, or by starting it."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from domain.settings import load_settings
from ops.embedded import EmbeddedStack
from ops.holder import AlreadyRunning, held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.settings import Settings

OTHER_COMMAND_SECONDS_MAX = 30.0
"""Another command that started the servers for itself takes seconds."""

OTHER_COMMAND_POLL_SECONDS = 0.1
"""Between two looks at whether it is done."""


@contextlib.contextmanager
def reached(settings: Settings) -> Iterator[Settings]:
    """Yield settings with every URL set, the servers behind them running for as long as the context lasts.

    Raises:
        AlreadyRunning: another command keeps the embedded servers for longer than we wait.
        ServerFailed, BinaryMissing, FolderRefused: the embedded servers did not start.
    """
    if not settings.embedded:
        yield settings
        return
    stack = EmbeddedStack(settings.data_dir)
    with contextlib.ExitStack() as started:
        if _hold(settings, started):
            started.enter_context(stack)
        os.environ.update(stack.environment())
        yield load_settings()


def _hold(settings: Settings, started: contextlib.ExitStack) -> bool:
    """Hold the data folder, or tell that `onsale up` runs on it and its servers can be used."""
    deadline = time.monotonic() + OTHER_COMMAND_SECONDS_MAX
    while True:
        try:
            started.enter_context(held(settings.data_dir, port=None))
        except AlreadyRunning as running:
            if running.holder is not None and running.holder.port is not None:
                return False
            if time.monotonic() > deadline:
                raise
        else:
            return True
        time.sleep(OTHER_COMMAND_POLL_SECONDS)
