"""Gives birth to API and worker processes: `python -m ops.chaos.stack.fork_server`.

A start of Python with all it imports costs two seconds of a core, more than a run of thousands of kills
has to spare. This process imports everything once and forks; a child then runs `python -m <module>` like
any other, in a session of its own, with an environment and a log of its own, and can be killed alone.

Reads one JSON object a line: `{"start": name, "module": …, "environment": {…}, "log": path}` or
`{"signal": number, "name": name}`. Writes `{"name": …, "pid": …}` for each child that began, and
`{"name": …, "pid": …, "code": …}` for each that ended, `code` being negative for a signal.
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

from ops.supervision.launcher import PR_SET_PDEATHSIG

PRELOADED = ("api.app", "uvicorn", "worker.jobs", "worker.passes", "arq.worker", "uvloop", "hiredis", "asyncpg")
"""Both processes, and what they import only when they run."""

LOOK_SECONDS = 0.01
"""How late the end of a child may be noticed."""

REQUEST_BYTES_MAX = 1 << 16


class Nursery:
    """The children that live, by name."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._unread = b""

    def run(self) -> None:
        """Serve until standard input ends; the kernel then ends the children with their parent."""
        while self._serve_requests():
            self._bury()

    def _serve_requests(self) -> bool:
        ready, _, _ = select.select([0], [], [], LOOK_SECONDS)
        if not ready:
            return True
        chunk = os.read(0, REQUEST_BYTES_MAX)
        *lines, self._unread = (self._unread + chunk).split(b"\n")
        for line in lines:
            self._serve(json.loads(line))
        return bool(chunk)

    def _serve(self, request: dict[str, Any]) -> None:
        if "signal" in request:
            pid = self._pids.get(request["name"])
            if pid is not None:
                os.kill(pid, request["signal"])
            return
        pid = os.fork()
        if pid == 0:
            _become(request)
        self._pids[request["start"]] = pid
        _say(name=request["start"], pid=pid)

    def _bury(self) -> None:
        for name, pid in list(self._pids.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                del self._pids[name]
                _say(name=name, pid=pid, code=os.waitstatus_to_exitcode(status))


def _become(request: dict[str, Any]) -> NoReturn:
    """Be the process that was asked for."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    os.setsid()
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.clear()
    os.environ.update(request["environment"])
    # Or every child would throw the dice of its siblings.
    random.seed()
    code = 1
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:  # noqa: BLE001  (the process' outermost frame)
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _say(**facts: object) -> None:
    os.write(1, json.dumps(facts).encode() + b"\n")


if __name__ == "__main__":
    for module in PRELOADED:
        importlib.import_module(module)
    _say(name="nursery", pid=os.getpid())
    Nursery().run()
