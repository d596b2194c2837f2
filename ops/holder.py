"""Who runs the stack of a data folder: one process at a time, known to all others by a locked file."""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Holder:
    """The process that runs the stack: `onsale up` with its port, or a short command without one."""

    pid: int
    port: int | None


class AlreadyRunning(Exception):
    """Another process holds the folder; `holder` says which, or None if it is only just starting."""

    def __init__(self, data_dir: Path, holder: Holder | None) -> None:
        """Say who holds `data_dir`."""
        self.holder = holder
        who = "a process that is starting" if holder is None else f"process {holder.pid}"
        where = "" if holder is None or holder.port is None else f", on port {holder.port}"
        super().__init__(f"already running: {who} holds {data_dir}{where}; stop it, or set another DATA_DIR")


@contextmanager
def held(data_dir: Path, *, port: int | None) -> Iterator[None]:
    """Hold `data_dir` for as long as the context lasts, or the process: the lock goes however it ends.

    Raises:
        AlreadyRunning: another process holds it.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock_fd = os.open(data_dir / "onsale.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(data_dir, _read(lock_fd)) from None
        os.ftruncate(lock_fd, 0)
        os.pwrite(lock_fd, json.dumps({"pid": os.getpid(), "port": port}).encode(), 0)
        yield
        os.ftruncate(lock_fd, 0)
    finally:
        os.close(lock_fd)


def _read(lock_fd: int) -> Holder | None:
    try:
        said = json.loads(os.pread(lock_fd, 4096, 0))
    except ValueError:
        return None
    return Holder(pid=said["pid"], port=said["port"])
