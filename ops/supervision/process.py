"""One process of the Procfile: started with its output on a pipe, stopped with all it started."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

from ops.supervision.launcher import launcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CHUNK_BYTES_MAX = 64 * 1024
"""What one read of a child's pipe takes, and the longest line that is not cut."""


class Child:
    """A process that can be started again and again; its lines are read with `lines()`, which never waits."""

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
        self.name = name
        self._command = command
        self._environment = environment
        self._pass_fds = tuple(pass_fds)
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None
        self._unfinished = b""

    @property
    def pid(self) -> int | None:
        """The process started last, if any."""
        return None if self._process is None else self._process.pid

    def spawn(self) -> None:
        """Start the process, in a session of its own: Ctrl-C in the terminal is the supervisor's to pass on."""
        self._close_pipe()
        self._unfinished = b""
        read_end, write_end = os.pipe()
        try:
            self._process = subprocess.Popen(
                launcher(self._command, death_signal=signal.SIGKILL),
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=write_end,
                stderr=subprocess.STDOUT,
                pass_fds=self._pass_fds,
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        os.set_blocking(read_end, False)
        self._pipe = read_end

    def poll(self) -> int | None:
        """Return the exit code of the process started last, or None while it lives or before a start."""
        return None if self._process is None else self._process.poll()

    def alive(self) -> bool:
        """Tell whether the process started last still runs."""
        return self._process is not None and self._process.poll() is None

    def finished(self) -> bool:
        """Tell whether the process has ended and all it said was read."""
        return not self.alive() and self._pipe is None

    def terminate(self) -> None:
        """Ask the process to finish what it has begun and end."""
        if self._process is not None:
            self._process.send_signal(self._stop_signal)

    def kill(self) -> None:
        """End the process, and what it started, at once."""
        if self._process is None:
            return
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def fileno(self) -> int | None:
        """Return the descriptor to wait on for more lines, or None if there will be none."""
        return self._pipe

    def lines(self) -> list[str]:
        """Return the lines that came since the last call, the last one also when it has no end and never will."""
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
