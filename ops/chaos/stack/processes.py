"""The API and worker processes of a trial: forked by the fork server, restarted when they die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ops.supervision.launcher import launcher
from ops.supervision.restarts import RESTART_DELAY_SECONDS_MIN, Keeper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENDS = frozenset({0, -signal.SIGKILL, -signal.SIGTERM})
"""Exit codes of a process that was killed or told to end."""

TICK_SECONDS = 0.02
"""How late a death is answered with a restart."""

STOP_SECONDS_MAX = 15.0
"""As the supervisor: a process that has not ended by then is killed."""


class ForkedProcess:
    """One API or worker process; it may die and be restarted many times."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.module = module
        self.environment = dict(environment)
        self.log = log
        self.server: ForkServer | None = None
        self.pid: int | None = None
        self.births = 0
        """How often it was started."""
        self.overdue = 0
        """How often it did not end in time when it was told to, and had to be killed."""
        self._code: int | None = None

    @property
    def alive(self) -> bool:
        """Whether there is a process that can be killed."""
        return self.pid is not None

    def spawn(self) -> None:
        """Start it."""
        self._code = None
        self.births += 1
        self._request(start=self.name, module=self.module, environment=self.environment, log=str(self.log))

    def poll(self) -> int | None:
        """Return the exit code of the process started last, or None while it lives."""
        return self._code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; does nothing when it is dead."""
        self._request(name=self.name, signal=int(number))

    def note(self, pid: int | None, *, code: int | None = None) -> None:
        """Note that it runs as `pid`, or that it ended with `code`."""
        self.pid = pid
        self._code = code

    def _request(self, **request: object) -> None:
        if self.server:
            self.server.request(request)


class ForkServer:
    """The process that forks the others (`fork_server.py`), and the restarts of those that die.

    Started from the main thread: the kernel ends it, and its children, with the thread that started it.
    """

    def __init__(self, processes: list[ForkedProcess], log: Path, *, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self.processes = {process.name: process for process in processes}
        self._log = log
        self._keepers: dict[str, Keeper] = {}
        self._process: asyncio.subprocess.Process | None = None
        self.gave_up: list[str] = []
        """Processes that ended by themselves, each time they did."""
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = asyncio.Event()
        for process in processes:
            process.server = self

    async def start(self) -> None:
        """Start the fork server, which takes some seconds, and then every process."""
        command = launcher([sys.executable, "-m", "ops.chaos.stack.fork_server"], death_signal=signal.SIGKILL)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        if self._process.stdout:
            self._tasks.append(asyncio.create_task(self._listen(self._process.stdout)))
        await self._ready.wait()
        for process in self.processes.values():
            process.spawn()
            self._keepers[process.name] = Keeper(process, now=time.monotonic())
        self._tasks.append(asyncio.create_task(self._keep()))

    async def stop(self) -> None:
        """Kill every process."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._process:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    def request(self, request: Mapping[str, Any]) -> None:
        """Send the fork server a request."""
        if self._process and self._process.stdin:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")

    def forgive(self, name: str) -> None:
        """Restart a process without delay when it dies: it is killed from outside and has no fault of its own."""
        self._keepers[name].delay_seconds = RESTART_DELAY_SECONDS_MIN

    async def _listen(self, output: asyncio.StreamReader) -> None:
        async for line in output:
            self._note(json.loads(line))

    def _note(self, news: dict[str, Any]) -> None:
        with self._log.open("a") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S.%f} {json.dumps(news)}\n")
        process = self.processes.get(news["name"])
        if process is None:
            self._ready.set()
        elif "code" in news:
            process.note(None, code=news["code"])
            if news["code"] not in ENDS:
                self.gave_up.append(f"{process.name} ended with {news['code']}")
        else:
            process.note(news["pid"])

    async def _keep(self) -> None:
        while True:
            now = time.monotonic()
            for name, keeper in self._keepers.items():
                if self.processes[name].poll() == -signal.SIGKILL:
                    # Killed by a fault or a failpoint: it shall not wait.
                    self.forgive(name)
                keeper.tick(now)
            await asyncio.sleep(TICK_SECONDS)
