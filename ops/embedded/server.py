"""A server of the embedded stack: started on its folder, waited for, stopped or killed."""

from __future__ import annotations

import fcntl
import os
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from ops.embedded.folders import folders_of, make_folders
from ops.supervision.launcher import launcher
from ops.supervision.process import ProcessFailed
from ops.supervision.program import LoggedProcess

if TYPE_CHECKING:
    import signal
    from pathlib import Path

START_DEADLINE_SECONDS = 60.0
"""A new folder takes about a second; replaying a large log after a power cut can take most of a minute."""

STOP_DEADLINE_SECONDS = 20.0
"""PostgreSQL writes a checkpoint when it stops; after this time the server is killed."""

LOCK_WAIT_SECONDS = 15.0
"""How long the next start waits for the children of a killed server."""

POLL_SECONDS = 0.02
"""Servers start and stop in tens of milliseconds."""

LOG_BYTES_MAX = 8 * 2**20
"""A larger log is renamed at a start; one renamed log is kept."""


class ServerFailed(ProcessFailed):
    """An embedded server did not start, or ended; `str()` has the last lines of its log."""


class EmbeddedServer(LoggedProcess, ABC):
    """One server on one data folder. Not safe to share between threads."""

    name: str
    death_signal: signal.Signals
    """Sent by the kernel when the starting process ends: ends the server at once without loss of data."""
    failure = ServerFailed
    ready_seconds_max = START_DEADLINE_SECONDS

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        """Describe the server whose data is in `data_dir`; nothing is started or written yet.

        Args:
            data_dir: the stack's folder; each server has its own folder in it.
            durable: False for throw-away data: a power cut may lose it; start and writes are faster.
        """
        super().__init__(self.name)
        self.folders = folders_of(data_dir)
        self.log = self.folders.logs / f"{self.name}.log"
        self.durable = durable
        self.environment: dict[str, str] = {}
        """Variables of the server; they override those of the caller's environment."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the data folder at the first start. Takes seconds at most."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Return the server's command line."""

    @abstractmethod
    def ready(self) -> bool:
        """Tell whether the process started last answers queries now."""

    def user(self) -> tuple[int, int] | None:
        """Return uid and gid the server runs as, or None for the caller's own."""
        return None

    def variables(self) -> dict[str, str]:
        """Return variables of the server; those of the caller's environment override them."""
        return {}

    def variables_at_start(self) -> dict[str, str]:
        """Return the whole environment that the server is started with."""
        return self.variables() | os.environ | self.environment

    def stale(self) -> list[Path]:
        """Return the files of a killed server that would hinder the next one."""
        return []

    @property
    def lock(self) -> Path:
        """The file that the server and its children lock until the last of them ends."""
        return self.folders.data / f"{self.name}.lock"

    def start(self) -> None:
        """Start the server and return when it answers; does nothing if it runs.

        Raises:
            ServerFailed: it ended, or did not answer within START_DEADLINE_SECONDS.
            BinaryMissing: there is no such server for this machine.
            FolderRefused: a folder is not private to the caller.
        """
        if self.alive():
            return
        self.spawn()
        self.wait_until(self.ready)

    def spawn(self) -> None:
        """Start the server without waiting for it."""
        make_folders(self.folders)
        self.prepare()
        command = launcher(
            self.command(),
            death_signal=self.death_signal,
            user=self.user(),
            lock=self.lock,
            lock_wait_seconds=LOCK_WAIT_SECONDS,
            stale=self.stale(),
        )
        self._set_log_aside()
        with self.log.open("ab") as log:
            self._launch(command, self.variables_at_start(), output=log, folder=self.folders.data)

    def stop(self, seconds: float = STOP_DEADLINE_SECONDS) -> int:
        """Stop the server in good order and return its exit code when it is gone."""
        return super().stop(seconds)

    def kill(self) -> None:
        """Kill the server as `kill -9` does, and return when its children have ended too, as they do by themselves."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + LOCK_WAIT_SECONDS
        while self._children_live() and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _children_live(self) -> bool:
        lock_fd = os.open(self.lock, os.O_RDWR)
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock_fd)
        return False

    def _set_log_aside(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            self.log.replace(self.log.with_suffix(".log.1"))
