"""Real API and worker processes that are started for one test."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.error import URLError

from redis import Redis

from ops.supervision.listener import free_port
from ops.supervision.program import Program

if TYPE_CHECKING:
    from domain.platform.settings import Settings
    from tests.fork_server import ForkServer

ROOT = Path(__file__).parent.parent

READY_SECONDS_MAX = 60.0
"""A process imports, connects and serves within two seconds, and ends as fast; a busy machine may take far longer."""

LOOK_EVERY_SECONDS = 0.02

HEALTH_KEY_SUFFIX = ":health-check"
"""arq writes this key once its worker hears the queue."""


class Process(Program):
    """One process of the system, started at once, with everything it said."""

    ready_seconds_max = READY_SECONDS_MAX

    def __init__(
        self,
        program: list[str],
        environment: dict[str, str],
        root: Path = ROOT,
        fork_server: ForkServer | None = None,
    ) -> None:
        """Start a program of the code in `root`; with a fork server, as its child."""
        self._fork_server = fork_server
        handle, log = tempfile.mkstemp(prefix="onsale-test-", suffix=".log")
        os.close(handle)
        super().__init__(program[0], [sys.executable, "-m", *program], environment, log=Path(log), folder=root)
        self.start()

    def start(self) -> None:
        """Start it without waiting for it."""
        if self._fork_server is None:
            super().start()
        else:
            self._process = self._fork_server.start(self.name, self._environment, self.log)

    def kill(self) -> None:
        """Kill it and its process group, which a forked process may not have made yet."""
        try:
            super().kill()
        except ProcessLookupError:
            self.signal(signal.SIGKILL)
            self.wait()

    def wait(self, seconds: float = READY_SECONDS_MAX) -> int:
        """Its exit code when it has ended."""
        return super().wait(seconds)

    def discard(self) -> None:
        """Kill it and forget what it said."""
        self.kill()
        self.log.unlink(missing_ok=True)


class Api(Process):
    """An API process; `url` is where it listens."""

    def __init__(self, environment: dict[str, str], root: Path = ROOT, fork_server: ForkServer | None = None) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(["api"], environment | {"HOST": "127.0.0.1", "PORT": str(port)}, root, fork_server)


class Processes:
    """Starts processes; leaving the block kills what is left of them.

    With a fork server, processes of this code are forked, unless a library is loaded into them, as the one that sets
    their clocks.
    """

    def __init__(self, settings: Settings, fork_server: ForkServer | None = None) -> None:
        self._settings = settings
        self._fork_server = fork_server
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.discard()

    def api(self, root: Path = ROOT, **environment: str) -> Api:
        """An API process that answers, of the code in `root`."""
        api = Api(self._environment(root, environment), root, self._forks(root, environment))
        self._started.append(api)
        api.wait_until(lambda: _answers(f"{api.url}/health/live"))
        return api

    def worker(self, root: Path = ROOT, **environment: str) -> Process:
        """A worker that hears its queue, of the code in `root`."""
        queue = _url(self._settings.queue_url)
        with Redis.from_url(queue) as redis:
            redis.delete(*redis.keys(f"*{HEALTH_KEY_SUFFIX}") or ["-"])
            forks = self._forks(root, environment)
            process = Process(["worker"], self._environment(root, environment), root, forks)
            self._started.append(process)
            process.wait_until(lambda: bool(redis.keys(f"*{HEALTH_KEY_SUFFIX}")))
        return process

    def _forks(self, root: Path, more: dict[str, str]) -> ForkServer | None:
        return self._fork_server if root == ROOT and "LD_PRELOAD" not in more else None

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
