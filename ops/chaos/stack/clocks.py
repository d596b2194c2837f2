"""Clocks of real servers and processes that can be set, without root and without changing the machine's clock.

libfaketime intercepts calls of the C library and adds the offset in a file to every reading of the wall clock, which
costs some microseconds; monotonic clocks stay as they are. The Python package of that name has the library, for Linux
on x86-64.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # nosec B108
"""Where the C library keeps shared memory."""


class Clock:
    """The wall clock of the programs that are started with `variables`, by its offset in seconds."""

    def __init__(self, file: Path, *, read_again_s: int = 0) -> None:
        """Keep the offset in `file`, which programs read again after `read_again_s`, with 0 at every reading."""
        self._file = file
        self._read_again_s = read_again_s
        self.set(0)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a program that uses this clock."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": str(int(not self._read_again_s)),
            "FAKETIME_CACHE_DURATION": str(self._read_again_s),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: float) -> None:
        """Set the clock ahead of the machine's by `seconds`, or behind it if they are negative."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+f}\n")
        written.replace(self._file)


def clear_shared_memory() -> None:
    """Remove what libfaketime left in shared memory when its processes were killed."""
    for path in SHARED_MEMORY.glob("*faketime_*"):
        pid = path.name.rpartition("_")[2]
        if not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)


@cache
def library() -> Path | None:
    """The library of libfaketime; None where it is not installed or not built for this machine."""
    package = find_spec("libfaketime")
    if package is None or package.origin is None or platform.machine() != "x86_64":
        return None
    path = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return path if path.exists() else None
