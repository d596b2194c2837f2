"""Runs, restarts and stops the processes of a stack in one loop without threads."""

from __future__ import annotations

import selectors
import signal
import time
from typing import TYPE_CHECKING

from ops.supervision.restarts import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

    from ops.supervision.console import Console
    from ops.supervision.process import Child
    from ops.supervision.restarts import Restartable

TICK_SECONDS = 0.05
"""How late the death of a process may be noticed; an iteration costs microseconds per process."""

STOP_GRACE_SECONDS = 15.0
"""Time for a process to finish its work; the deadline of a job is 10 s."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, kill, a closed terminal."""


class Stopped(Exception):
    """The stack was asked to stop."""


class Supervisor:
    """Starts, watches, restarts and stops processes, and prints their output.

    If it is killed, the kernel ends everything it started: see `launcher.py`.
    """

    def __init__(self, console: Console) -> None:
        """Report to `console`; from now on, signals that end a program only set a flag."""
        self._console = console
        self._children: list[Child] = []
        self._keepers: list[Keeper] = []
        self._asked_to_stop = False
        for number in STOP_SIGNALS:
            # Under nohup a closed terminal stays ignored.
            if not (number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN):
                signal.signal(number, self._remember)

    def keep(self, process: Restartable) -> None:
        """Restart `process`, already started, whenever it dies."""
        self._keepers.append(Keeper(process, now=time.monotonic()))

    def keep_child(self, child: Child) -> None:
        """Start `child`, print its output and restart it whenever it dies."""
        self.start(child)
        self.keep(child)

    def start(self, child: Child) -> None:
        """Start `child` and print its output."""
        child.spawn()
        self._children.append(child)

    def wait(self, done: Callable[[], bool]) -> None:
        """Supervise until `done()`.

        Raises:
            Stopped: the stack was asked to stop.
        """
        while not done():
            self.turn()

    def turn(self) -> None:
        """Supervise for one tick; raises Stopped."""
        self._relay(TICK_SECONDS)
        if self._asked_to_stop or self._console.hung_up():
            raise Stopped
        now = time.monotonic()
        for keeper in self._keepers:
            news = keeper.tick(now)
            if news is not None:
                self._console.say(keeper.process.name, news)

    def stop(self) -> None:
        """End every child in good order, or kill it after STOP_GRACE_SECONDS. Prints their last output."""
        for child in self._children:
            child.terminate()
        deadline = time.monotonic() + STOP_GRACE_SECONDS
        while self._anyone_alive() and time.monotonic() < deadline:
            self._relay(TICK_SECONDS)
        for child in self._children:
            if child.alive():
                self._console.say(child.name, f"did not end within {STOP_GRACE_SECONDS:.0f} s and is killed")
            child.kill()
        self._relay(0)
        self._children.clear()
        self._keepers.clear()

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self._asked_to_stop = True

    def _anyone_alive(self) -> bool:
        return any(child.alive() for child in self._children)

    def _relay(self, seconds_max: float) -> None:
        """Print the available lines; waits at most `seconds_max` for the first."""
        for child in _with_output(self._children, seconds_max):
            for line in child.lines():
                self._console.say(child.name, line)


def _with_output(children: Iterable[Child], seconds_max: float) -> list[Child]:
    with selectors.DefaultSelector() as selector:
        for child in children:
            descriptor = child.fileno()
            if descriptor is not None:
                selector.register(descriptor, selectors.EVENT_READ, child)
        return [key.data for key, _ in selector.select(seconds_max)]
