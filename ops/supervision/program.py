"""A program with a log file of its own: started, waited for by conditions, stopped or killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Self

from ops.supervision.launcher import launcher
from ops.supervision.process import ProcessFailed, RestartableProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

ONSALE = (sys.executable, "-m", "ops.commands.cli")
"""The operator's command line of this code; some steps of a start are commands."""

READY_SECONDS_MAX = 240.0
"""A start with a million bookings rebuilds the inventory for some seconds, on a busy machine for many more."""

STOP_SECONDS_MAX = 30.0
"""Time for a stop in good order before the program is killed."""

POLL_SECONDS = 0.02
LOG_LINES_SHOWN = 20

ENVIRONMENT_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")


def plain_environment() -> dict[str, str]:
    """The caller's environment without settings: only what every program needs."""
    return {name: os.environ[name] for name in ENVIRONMENT_KEPT if name in os.environ}


def short_pause() -> None:
    """Wait until it is worth checking a process again."""
    time.sleep(POLL_SECONDS)


class LoggedProcess(RestartableProcess):
    """A process whose output goes to `log`, which outlives it."""

    log: Path

    failure: type[ProcessFailed] = ProcessFailed
    """Raised when the process is not ready."""

    ready_seconds_max: float = READY_SECONDS_MAX
    """How long `wait_until` waits by default."""

    @property
    def output(self) -> str:
        """Everything in the log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def wait_until(
        self,
        ready: Callable[[], bool],
        *,
        what: str = "ready",
        seconds: float | None = None,
        pause: Callable[[], None] = short_pause,
    ) -> None:
        """Return when `ready` says so; `pause` is called between two checks.

        Raises:
            ProcessFailed: the process ended, or `seconds` passed; `str()` has its last output and the path of its log.
        """
        seconds = self.ready_seconds_max if seconds is None else seconds
        deadline_s = time.monotonic() + seconds
        while not ready():
            ended = self.poll()
            if ended is not None or time.monotonic() > deadline_s:
                how = f"exit code {ended}" if ended is not None else f"after {seconds:.0f} s"
                lines = self.output.splitlines()[-LOG_LINES_SHOWN:]
                raise self.failure("\n".join([f"{self.name} is not {what}: {how}", *lines, f"The log: {self.log}"]))
            pause()


class Program(LoggedProcess):
    """Any program. As a context manager it runs during the block."""

    death_signal: signal.Signals = signal.SIGKILL
    """Sent by the kernel when the process that started the program ends, however that one ended."""

    def __init__(  # noqa: PLR0913  (the parts of a process)
        self,
        name: str,
        command: Sequence[str | Path],
        environment: Mapping[str, str],
        *,
        log: Path,
        folder: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Describe the program; it will run in `folder`, and `pass_fds` stay open in it."""
        super().__init__(name)
        self.log = log
        self._command = command
        self._environment = dict(environment)
        self._folder = folder
        self._pass_fds = pass_fds

    def __enter__(self) -> Self:
        """Start the program."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the program."""
        self.stop()

    def start(self) -> None:
        """Start the program without waiting for it."""
        command = launcher(self._command, death_signal=self.death_signal)
        with self.log.open("ab") as log:
            self._launch(command, self._environment, output=log, folder=self._folder, pass_fds=self._pass_fds)

    def stop(self, seconds: float = STOP_SECONDS_MAX) -> int:
        """End the program in good order, or kill it after `seconds`; returns its exit code."""
        return super().stop(seconds)
