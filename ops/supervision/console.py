"""What the operator reads: lines with the name of the process that said them."""

from __future__ import annotations

import os
import queue
import select
import sys
import threading
from itertools import cycle
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from collections.abc import Iterable

LINES_WAITING_MAX = 10_000
"""Lines kept for a terminal that is stopped; later ones are dropped, so that no seller ever waits for a reader."""

FLUSH_SECONDS_MAX = 2.0
"""How long the last lines may take to reach a slow reader."""

COLOURS = ("36", "33", "32", "35", "34", "31")
"""ANSI foreground colours, dealt out to names in turn."""


class Console:
    """Writes lines from a thread of its own, so that no writer waits for the terminal; never raises."""

    def __init__(self, names: Iterable[str], stream: TextIO | None = None) -> None:
        """Write to `stream`, by default standard output, in columns as wide as the longest of `names`."""
        self._stream = sys.stdout if stream is None else stream
        names = list(names)
        self._width = max(map(len, names), default=0)
        colours = cycle(COLOURS) if self._stream.isatty() else cycle([""])
        self._colours = dict(zip(names, colours, strict=False))
        self._terminal = select.poll()
        if self._stream.isatty():
            # No event but the hang-up, which is always told.
            self._terminal.register(os.dup(self._stream.fileno()), 0)
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_WAITING_MAX)
        self._writer = threading.Thread(target=self._write, name="console", daemon=True)
        self._writer.start()

    def say(self, name: str, text: str) -> None:
        """Print `text`, each line after `name`."""
        prefix = f"{name:<{self._width}} |"
        colour = self._colours.get(name, "")
        if colour:
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        for line in text.splitlines():
            self._put(f"{prefix} {line}\n")

    def hung_up(self) -> bool:
        """Tell whether the terminal was closed. Only its session's leader gets a signal, and that may be make."""
        return bool(self._terminal.poll(0))

    def close(self) -> None:
        """Print what is waiting, as far as a reader takes it in time."""
        self._put(None)
        self._writer.join(FLUSH_SECONDS_MAX)

    def _put(self, line: str | None) -> None:
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            return

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._stream.write(line)
                self._stream.flush()
            except OSError:
                # Nobody reads any more; whether to go on is not decided here.
                _silence(self._stream)


def _silence(stream: TextIO) -> None:
    """Let everything written to `stream`, and what it still holds, go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
