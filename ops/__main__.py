"""Starts `onsale`; during the imports, which take a while, Ctrl-C ends it with one line."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

INTERRUPTED_EXIT_CODE = 130
"""The exit code that shells report for Ctrl-C."""


def main() -> None:
    """Run the operator's command line."""
    signal.signal(signal.SIGINT, _end)
    # `make run` blocks it while Python starts.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    from ops.commands.cli import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


def _end(_number: int, _frame: FrameType | None) -> None:
    """End at once, without the traceback of an unfinished import: nothing was begun yet."""
    os.write(2, b"onsale: interrupted\n")
    os._exit(INTERRUPTED_EXIT_CODE)


if __name__ == "__main__":
    main()
