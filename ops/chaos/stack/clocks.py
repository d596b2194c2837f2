"""Clocks that can be set: of real servers and processes, without root and without touching the machine's.

libfaketime stands between a program and the C library, and adds what a file says to every reading of the wall clock,
which costs some microseconds; monotonic clocks stay as they are. The Python package of that name brings the library,
for Linux on x86-64.
"""

from __future__ import annotations

import platform
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # nosec B108
"""Where the C library keeps shared memory."""


class Clock:
    """The wall clock of whatever is started with `variables`, by how many seconds it is off."""

    def __init__(self, file: Path, *, read_again_s: int = 0) -> None:
        """Keep it in `file`, which programs read again after `read_again_s`, or each time that they read the clock."""
        self._file = file
        self._read_again_s = read_again_s
        self.set(0)

    @property
    def variables(self) -> dict[str, str]:
        """What a program is started with, to go by this clock."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": str(int(not self._read_again_s)),
            "FAKETIME_CACHE_DURATION": str(self._read_again_s),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: float) -> None:
        """Be ahead of the machine's clock by so much, below 0 behind it."""
        written = self._file.with_suffix(".new")
        written.write_text(f"{seconds:+f}\n")
        written.replace(self._file)


def clear_shared_memory() -> None:
    """Remove what processes that were killed have left of libfaketime's in shared memory."""
    for path in SHARED_MEMORY.glob("*faketime_*"):
        pid = path.name.rpartition("_")[2]
        if not Path("/proc", pid).exists():
            path.unlink(missing_ok=True)


@cache
def library() -> Path | None:
    """libfaketime, None where it is not installed or not made for this machine."""
    package = find_spec("libfaketime")
    if package is None or package.origin is None or platform.machine() != "x86_64":
        return None
    path = Path(package.origin).parent / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
    return path if path.exists() else None
