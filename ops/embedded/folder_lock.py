"""The lock of a data folder: one process at a time runs its stack, and others can read which."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from ops.embedded.folders import make_data_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK_FILE = "onsale.lock"
"""Name of the lock file in the data folder; it holds the facts about its holder."""


@dataclass(frozen=True)
class Holder:
    """The process that runs the stack: `onsale up` with its port, or a short command without one.

    `serving`: its servers answer and the database is migrated. `token_seconds`: the longest lifetime of its tokens.
    """

    pid: int
    port: int | None
    serving: bool = False
    token_seconds: int | None = None


class AlreadyRunning(Exception):
    """Another process holds the folder; `holder` is None while that process is still starting."""

    def __init__(self, data_dir: Path, holder: Holder | None) -> None:
        """Say who holds `data_dir`."""
        self.holder = holder
        who = "a process that is starting" if holder is None else f"process {holder.pid}"
        where = "" if holder is None or holder.port is None else f", on port {holder.port}"
        super().__init__(f"already running: {who} holds {data_dir}{where}; stop it, or set another DATA_DIR")


class Hold:
    """A data folder that this process holds."""

    def __init__(self, lock_fd: int, holder: Holder) -> None:
        """Write `holder` to the lock file."""
        self._lock_fd = lock_fd
        self._holder = holder
        self._tell()

    def tell_serving(self) -> None:
        """Allow commands to use the servers from now on."""
        self._holder = replace(self._holder, serving=True)
        self._tell()

    def _tell(self) -> None:
        told = json.dumps(asdict(self._holder)).encode()
        # In this order, a concurrent reader finds the old facts, the new ones, or invalid JSON.
        os.pwrite(self._lock_fd, told, 0)
        os.ftruncate(self._lock_fd, len(told))


@contextmanager
def held(data_dir: Path, *, port: int | None, token_seconds: int | None = None) -> Iterator[Hold]:
    """Hold `data_dir` until the context or the process ends, however it ends.

    Raises:
        AlreadyRunning: another process holds it.
        SettingsRefused: DATA_DIR is no writable folder.
    """
    make_data_folder(data_dir)
    lock_fd = os.open(data_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(data_dir, _read(lock_fd)) from None
        yield Hold(lock_fd, Holder(pid=os.getpid(), port=port, token_seconds=token_seconds))
        os.ftruncate(lock_fd, 0)
    finally:
        os.close(lock_fd)


def holder_of(data_dir: Path) -> Holder | None:
    """The process that holds `data_dir`; None if there is none, or if its facts cannot be read."""
    try:
        lock_fd = os.open(data_dir / LOCK_FILE, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(lock_fd)
    finally:
        os.close(lock_fd)
    return None


def _read(lock_fd: int) -> Holder | None:
    """Read the facts about the holder; None before it wrote them, or if another version did."""
    try:
        return Holder(**json.loads(os.pread(lock_fd, 4096, 0)))
    except (ValueError, TypeError):
        return None
