"""The operator's console: lines of output, each with the name of its process."""

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
"""Lines kept while a terminal is stopped; later ones are dropped, so that no process waits for a reader."""

FLUSH_SECONDS_MAX = 2.0
"""How long the last lines may take to reach a slow reader."""

COLOURS = ("36", "33", "32", "35", "34", "31")
"""ANSI foreground colours, assigned to names in turn."""


class Console:
    """Writes lines from its own thread, so that no caller waits for the terminal; never raises."""

    def __init__(self, names: Iterable[str], stream: TextIO | None = None) -> None:
        """Write to `stream`, by default standard output, in columns as wide as the longest of `names`."""
        self._stream = sys.stdout if stream is None else stream
        names = list(names)
        self._width = max(map(len, names), default=0)
        colours = cycle(COLOURS) if self._stream.isatty() else cycle([""])
        self._colours = dict(zip(names, colours, strict=False))
        self._terminal = select.poll()
        if self._stream.isatty():
            # No event but the hang-up, which is always reported.
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
        """Tell whether the terminal was closed; only its session's leader gets a signal, e.g. make."""
        return bool(self._terminal.poll(0))

    def close(self) -> None:
        """Print the waiting lines, as far as the reader accepts them within FLUSH_SECONDS_MAX."""
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
                # Nobody reads any more; the caller decides whether to go on.
                _silence(self._stream)


def _silence(stream: TextIO) -> None:
    """Redirect `stream`, with its buffer, to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
