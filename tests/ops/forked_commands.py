"""Runs the operator's commands in processes that are forked from one that has imported all they need.

Each command saves half a second of a core.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from ops.supervision.launcher import PR_SET_PDEATHSIG
from tests.processes import ROOT

MODULE = "ops.commands.cli"

PRELOADED = [
    *(MODULE, "ops.commands.up", "ops.commands.servers", "ops.commands.accounts", "ops.commands.demo"),
    *("ops.commands.rotate_keys", "migrations.upgrade", "domain.engine", "domain.background.audit"),
    *("alembic.command", "asyncpg", "hiredis", "uvloop", "sqlalchemy.dialects.postgresql.asyncpg"),
]
"""The command line, and what its commands import when they run."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def run_forked(
    arguments: list[str], environment: dict[str, str], stdin: str, *, seconds: float
) -> subprocess.CompletedProcess[str]:
    """Run `python -m ops.commands.cli` with these arguments to its end, in a process of its own.

    Raises:
        subprocess.TimeoutExpired: it did not end within `seconds`; it is killed.
    """
    with tempfile.TemporaryDirectory(prefix="onsale-test-") as folder:
        said, failed = Path(folder, "stdout"), Path(folder, "stderr")
        Path(folder, "stdin").write_text(stdin)
        process = _context.Process(target=_become, args=(arguments, environment, folder))
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(arguments, seconds)
        return subprocess.CompletedProcess(arguments, process.exitcode, said.read_text(), failed.read_text())


def _become(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Become the command, as `python -m` would start it."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    _use(Path(folder, "stdin"), os.O_RDONLY, 0)
    for fd, name in ((1, "stdout"), (2, "stderr")):
        _use(Path(folder, name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, fd)
    sys.stdin, sys.stdout, sys.stderr = os.fdopen(0), os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = [MODULE, *arguments]
    # It runs as the main module; what it imports is there already.
    del sys.modules[MODULE]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


def _use(path: Path, flags: int, fd: int) -> None:
    opened = os.open(path, flags, 0o600)
    os.dup2(opened, fd)
    os.close(opened)
