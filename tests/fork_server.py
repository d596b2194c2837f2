"""Forks API and worker processes from one that has imported all they need: each start saves a second of a core."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import IO, TYPE_CHECKING, Any, Self

from ops.supervision.launcher import launcher

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

STARTED_SECONDS_MAX = 60.0


class ForkServer:
    """A fork server of the chaos runner (`ops.chaos.stack.fork_server`) with cheap passwords, asked from tests.

    Linux ends it together with the thread that started it, so it is started by a fixture.
    """

    def __init__(self, root: Path) -> None:
        self._server = subprocess.Popen(
            launcher([sys.executable, "-m", "tests.cheap_fork_server"], death_signal=signal.SIGKILL),
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._forked: dict[str, Forked] = {}
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def start(self, module: str, environment: Mapping[str, str], log: Path) -> Forked:
        """Run a module as a process of its own; returns when there is one."""
        name = str(log)
        forked = self._forked[name] = Forked()
        request = {"start": name, "module": module, "environment": dict(environment), "log": name}
        _pipe(self._server.stdin).write(json.dumps(request).encode() + b"\n")
        _pipe(self._server.stdin).flush()
        assert forked.started.wait(STARTED_SECONDS_MAX)
        return forked

    def stop(self) -> None:
        """Kill it, and so what it started."""
        self._server.kill()
        self._reading.join()
        self._server.wait()
        _pipe(self._server.stdin).close()
        _pipe(self._server.stdout).close()

    def _read(self) -> None:
        for line in _pipe(self._server.stdout):
            news = json.loads(line)
            if forked := self._forked.get(news["name"]):
                forked.hear(news)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Forked:
    """A forked process, with the part of `subprocess.Popen` that `ops.supervision.process` uses."""

    def __init__(self) -> None:
        self.pid = 0
        self.started = threading.Event()
        self._ended = threading.Event()
        self._code: int | None = None

    def hear(self, news: dict[str, Any]) -> None:
        """What the fork server told of it."""
        self.pid = news["pid"]
        self._code = news.get("code")
        if self._code is not None:
            self._ended.set()
        self.started.set()

    def poll(self) -> int | None:
        return self._code

    def wait(self, timeout: float | None = None) -> int:
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        assert self._code is not None
        return self._code

    def send_signal(self, number: signal.Signals) -> None:
        if self._code is None:
            os.kill(self.pid, number)


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe
