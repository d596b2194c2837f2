"""Forks API and worker processes: `python -m ops.chaos.stack.fork_server`.

A start of Python with all imports costs two seconds of a core, too much for a run with thousands of kills. This process
imports everything once and forks. A child then runs `python -m <module>` like any other process, in a session of its
own, with its own environment and log, and can be killed alone.

Reads one JSON object a line: `{"start": name, "module": …, "environment": {…}, "log": path}` or
`{"signal": number, "name": name}`. Writes `{"name": …, "pid": …}` for each child that began, and
`{"name": …, "pid": …, "code": …}` for each that ended; `code` is negative for a signal.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import random
import runpy
import select
import signal
import sys
import traceback
from typing import Any, NoReturn

from ops.chaos.protections import REMOVED_PROTECTIONS, Protection, remove
from ops.supervision.launcher import PR_SET_PDEATHSIG

PRELOADED = (
    "api.app",
    "ops.chaos.holds.buyers",
    "uvicorn",
    "worker.jobs",
    "worker.passes",
    "arq.worker",
    "uvloop",
    "hiredis",
    "asyncpg",
)
"""Every process, and what they import only when they run."""

POLL_SECONDS = 0.01
"""How late the end of a child may be noticed."""

REQUEST_BYTES_MAX = 1 << 16


def serve() -> None:
    """Serve until standard input ends; the kernel then ends the children with their parent."""
    pids: dict[str, int] = {}
    unread = b""
    while True:
        ready, _, _ = select.select([0], [], [], POLL_SECONDS)
        if ready:
            chunk = os.read(0, REQUEST_BYTES_MAX)
            if not chunk:
                return
            *lines, unread = (unread + chunk).split(b"\n")
            for line in lines:
                _answer(json.loads(line), pids)
        _report_ended(pids)


def _answer(request: dict[str, Any], pids: dict[str, int]) -> None:
    if "signal" in request:
        pid = pids.get(request["name"])
        if pid is not None:
            os.kill(pid, request["signal"])
        return
    pid = os.fork()
    if pid == 0:
        _run(request)
    pids[request["start"]] = pid
    _write(name=request["start"], pid=pid)


def _report_ended(pids: dict[str, int]) -> None:
    for name, pid in list(pids.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            del pids[name]
            _write(name=name, pid=pid, code=os.waitstatus_to_exitcode(status))


def _run(request: dict[str, Any]) -> NoReturn:
    """Become the requested process."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    # Otherwise every child would draw the same random numbers.
    random.seed()
    code = 1
    try:
        remove(Protection(name) for name in os.environ.pop(REMOVED_PROTECTIONS, "").split())
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
    except BaseException:  # noqa: BLE001  (the process' outermost frame)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _write(**facts: object) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    _write(name="fork server", pid=os.getpid())
    serve()
