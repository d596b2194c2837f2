"""Real API and worker processes, started for one test and gone after it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self
from urllib.error import URLError

from redis import Redis

from ops.supervision.launcher import launcher

if TYPE_CHECKING:
    from collections.abc import Callable

    from domain.platform.settings import Settings

ROOT = Path(__file__).parent.parent

READY_SECONDS_MAX = 60.0
"""A process imports, connects and serves within two seconds, and ends as fast; a busy machine may take far longer."""

LOOK_EVERY_SECONDS = 0.02

HEALTH_KEY_SUFFIX = ":health-check"
"""arq writes this key once its worker hears the queue."""


class Process:
    """One process of the system, with everything it said."""

    def __init__(self, program: list[str], environment: dict[str, str], root: Path = ROOT) -> None:
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  (closed by discard)
        self._popen = subprocess.Popen(
            # It ends with the tests, however they end.
            launcher([sys.executable, "-m", *program], death_signal=signal.SIGKILL),
            cwd=root,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def output(self) -> str:
        """What it wrote until now."""
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, e.g. SIGSTOP."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as kill -9 does, with all of its children, and return when it is gone."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()

    def stop(self) -> int:
        """Ask it to stop; answers its exit code."""
        self._popen.terminate()
        return self._popen.wait(READY_SECONDS_MAX)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when `ready` says so; raises AssertionError with its output when it ends or takes too long."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not ready():
            ended = self._popen.poll()
            if ended is not None or time.monotonic() > deadline:
                message = f"not ready (exit code {ended}):\n{self.output}"
                raise AssertionError(message)
            time.sleep(LOOK_EVERY_SECONDS)

    def discard(self) -> None:
        """Kill it and forget what it said."""
        self.kill()
        self._log.close()


class Api(Process):
    """An API process; `url` is where it listens."""

    def __init__(self, environment: dict[str, str], root: Path = ROOT) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(["api"], environment | {"HOST": "127.0.0.1", "PORT": str(port)}, root)


class Processes:
    """Starts processes; leaving the block kills what is left of them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.discard()

    def api(self, root: Path = ROOT, **environment: str) -> Api:
        """An API process that answers, of the code in `root`."""
        api = Api(self._environment(root, environment), root)
        self._started.append(api)
        api.wait_until(lambda: _answers(f"{api.url}/health/live"))
        return api

    def worker(self, root: Path = ROOT, **environment: str) -> Process:
        """A worker that hears its queue, of the code in `root`."""
        queue = _url(self._settings.queue_url)
        with Redis.from_url(queue) as redis:
            redis.delete(*redis.keys(f"*{HEALTH_KEY_SUFFIX}") or ["-"])
            process = Process(["worker"], self._environment(root, environment), root)
            self._started.append(process)
            process.wait_until(lambda: bool(redis.keys(f"*{HEALTH_KEY_SUFFIX}")))
        return process

    def _environment(self, root: Path, more: dict[str, str]) -> dict[str, str]:
        settings = self._settings
        return {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(root),
            "DATABASE_URL": _url(settings.database_url),
            "REDIS_URL": _url(settings.redis_url),
            "QUEUE_URL": _url(settings.queue_url),
            "JWT_SECRET": _url(settings.jwt_secret),
            "REDIS_SYNC": settings.redis_sync,
            "SHUTDOWN_DELAY_SECONDS": "0",
            **more,
        }


def _url(secret: object) -> str:
    return secret.get_secret_value()  # type: ignore[attr-defined,no-any-return]


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:
            return bool(response.status == 200)
    except (URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
