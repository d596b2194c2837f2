"""A process that this one starts, watches, and ends with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import IO, TYPE_CHECKING

from ops.supervision.launcher import launcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

CHUNK_BYTES_MAX = 64 * 1024
"""Size of one read from a child's pipe, and length at which a line is cut."""


class ProcessFailed(Exception):
    """A process did not start or ended too early; `str()` ends with its last output."""


class RestartableProcess:
    """A process that can be started again and again.

    Linux ends it together with the thread that started it: start it from a thread that lives as long as it should.
    """

    stop_signal: signal.Signals = signal.SIGTERM
    """Ends the process in good order."""

    def __init__(self, name: str) -> None:
        """Describe the process; nothing is started yet."""
        self.name = name
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of the process started last; raises ProcessFailed before the first start."""
        if self._process is None:
            message = f"{self.name} was never started"
            raise ProcessFailed(message)
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit code of the process started last, or None while it lives or before a start."""
        return None if self._process is None else self._process.poll()

    def alive(self) -> bool:
        """Tell whether the process started last still runs."""
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; does nothing when the process is not running."""
        if self._process is not None:
            self._process.send_signal(number)

    def terminate(self) -> None:
        """Ask the process to finish its work and end."""
        self.signal(self.stop_signal)

    def wait(self, seconds: float) -> int:
        """Return the exit code once the process has ended; raises TimeoutError if that takes longer."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            message = f"{self.name} did not end within {seconds:.0f} s"
            raise TimeoutError(message) from error

    def stop(self, seconds: float) -> int:
        """End the process in good order, or kill it after `seconds`; returns its exit code, 0 if it never started."""
        self.signal(signal.SIGCONT)
        self.terminate()
        try:
            return self.wait(seconds)
        except TimeoutError:
            self.kill()
            return -signal.SIGKILL

    def kill(self) -> None:
        """Kill the process and its process group as `kill -9` does, and wait for its end."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _launch(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        output: int | IO[bytes],
        folder: Path | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Start `command`, which `launcher` made, in a session of its own: Ctrl-C in the terminal does not reach it."""
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
            start_new_session=True,
        )


class Child(RestartableProcess):
    """A process of the Procfile, its output on a pipe; `lines()` reads it and never waits."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        *,
        pass_fds: Sequence[int] = (),
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        """Describe the process; nothing is started yet. `pass_fds` stay open in it, under the same numbers."""
        super().__init__(name)
        self._command = command
        self._environment = environment
        self._pass_fds = tuple(pass_fds)
        self.stop_signal = stop_signal
        self._pipe: int | None = None
        self._unfinished = b""

    def spawn(self) -> None:
        """Start the process."""
        self._close_pipe()
        self._unfinished = b""
        read_end, write_end = os.pipe()
        try:
            command = launcher(self._command, death_signal=signal.SIGKILL)
            self._launch(command, self._environment, output=write_end, pass_fds=self._pass_fds)
        finally:
            os.close(write_end)
        os.set_blocking(read_end, False)
        self._pipe = read_end

    def finished(self) -> bool:
        """Tell whether the process has ended and all its output was read."""
        return not self.alive() and self._pipe is None

    def fileno(self) -> int | None:
        """Return the descriptor to wait on for more lines, or None if there will be none."""
        return self._pipe

    def lines(self) -> list[str]:
        """Return the lines that came since the last call; an unfinished line only at the end of the output."""
        if self._pipe is None:
            return []
        try:
            chunk = os.read(self._pipe, CHUNK_BYTES_MAX)
        except BlockingIOError:
            return []
        if not chunk:
            self._close_pipe()
        *whole, rest = (self._unfinished + chunk).split(b"\n")
        if rest and (not chunk or len(rest) >= CHUNK_BYTES_MAX):
            whole, rest = [*whole, rest], b""
        self._unfinished = rest
        return [line.decode(errors="replace") for line in whole]

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
