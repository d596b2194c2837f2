"""Becomes another program, which ends when the process that started it ends, however that one ended.

Every process of a stack is started through it. It is run by its path with `python -I -S` and imports only the standard
library, so it costs about 20 ms. A hook between fork and exec could do the same, but is unsafe once the starting
process has threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn, TypedDict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_SECUREBITS = 28
SECBIT_NO_SETUID_FIXUP = 1 << 2
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAP_DAC_OVERRIDE = 1
CAPABILITY_VERSION_3 = 0x20080522
"""Constants of the Linux kernel: linux/prctl.h and linux/capability.h."""

LOCK_POLL_SECONDS = 0.02
"""A server ends within tens of milliseconds; polling more often would only cost CPU."""


class Launch(TypedDict):
    """The preparations for the program; passed as JSON in the first argument."""

    parent_pid: int
    death_signal: int
    user: tuple[int, int] | None
    lock: str | None
    lock_wait_seconds: float
    stale: list[str]


def launcher(  # noqa: PLR0913 - one keyword for each field of Launch.
    program: Sequence[str | Path],
    *,
    death_signal: signal.Signals,
    user: tuple[int, int] | None = None,
    lock: Path | None = None,
    lock_wait_seconds: float = 0,
    stale: Sequence[Path] = (),
) -> list[str]:
    """Return the command that becomes `program`.

    Args:
        program: the program and its arguments.
        death_signal: sent to the program when its parent, the caller of this function, ends.
        user: uid and gid to run as, for a caller that is root; the program may still enter every folder.
        lock: a file that the program and its children lock until the last of them ends.
        lock_wait_seconds: how long to wait for the children of an earlier holder of the lock.
        stale: files of a dead holder of the lock; removed once the lock is held.
    """
    plan = Launch(
        parent_pid=os.getpid(),
        death_signal=int(death_signal),
        user=user,
        lock=None if lock is None else str(lock),
        lock_wait_seconds=lock_wait_seconds,
        stale=[str(path) for path in stale],
    )
    return [sys.executable, "-I", "-S", __file__, json.dumps(plan), *map(str, program)]


def main() -> NoReturn:
    """Make the preparations in the first argument, then become the program in the others."""
    plan: Launch = json.loads(sys.argv[1])
    program = sys.argv[2:]
    _end_with_parent(plan)
    if plan["lock"] is not None:
        _hold_lock(plan["lock"], plan)
        for path in plan["stale"]:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)  # noqa: PTH108 - pathlib would double the time this file takes.
    if plan["user"] is not None:
        _become(*plan["user"])
        # The kernel clears the death signal when a process changes its user.
        _end_with_parent(plan)
    # Python ignores it; programs expect the default.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    os.execvp(program[0], program)  # noqa: S606 - no shell is wanted.


def _end_with_parent(plan: Launch) -> None:
    if sys.platform == "linux":
        _libc_call("prctl", PR_SET_PDEATHSIG, plan["death_signal"], 0, 0, 0)
    _check_parent(plan)


def _check_parent(plan: Launch) -> None:
    if os.getppid() != plan["parent_pid"]:
        sys.exit("the process that started this one is gone")


def _hold_lock(path: str, plan: Launch) -> None:
    lock_fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    os.set_inheritable(lock_fd, True)  # noqa: FBT003 - the only way to say it.
    deadline = time.monotonic() + plan["lock_wait_seconds"]
    while True:
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.exit(f"{path} is still locked by the processes of an earlier start")
            _check_parent(plan)
            time.sleep(LOCK_POLL_SECONDS)
        else:
            return


def _become(uid: int, gid: int) -> None:
    """Change from root to `uid`, and keep one right of root: to enter every folder, e.g. /root."""
    keeps_rights = _rights_survive_change_of_user()
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if keeps_rights:
        _keep_only(CAP_DAC_OVERRIDE)


def _rights_survive_change_of_user() -> bool:
    """Ask the kernel to keep rights, also for access(2); if it refuses, the folders have to be open."""
    try:
        _libc_call("prctl", PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    except (OSError, AttributeError):
        return False
    return True


def _keep_only(capability: int) -> None:
    mask = 1 << capability
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    # Effective, permitted, inheritable: their low words, then their high ones.
    _libc_call("capset", header, (ctypes.c_uint32 * 6)(mask, mask, mask, 0, 0, 0))
    _libc_call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0)


def _libc_call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(word) if isinstance(word, int) else word for word in arguments]
    if getattr(libc, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main()
