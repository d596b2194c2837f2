"""The API and worker processes of a trial: forked by the nursery, started again when they die."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ops.supervision.launcher import launcher
from ops.supervision.restarts import RESTART_DELAY_SECONDS_MIN, Keeper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENDS = frozenset({0, -signal.SIGKILL, -signal.SIGTERM})
"""How a process may end that was killed or told to end."""

TICK_SECONDS = 0.02
"""How late a death is answered with a restart."""

STOP_SECONDS_MAX = 15.0
"""As the supervisor: what has not ended by then is killed."""


class Process:
    """One API or worker process; it may die and be born again many times."""

    def __init__(self, name: str, module: str, environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.module = module
        self.environment = dict(environment)
        self.log = log
        self.pid: int | None = None
        self.births = 0
        self.overdue = 0
        """How often it did not end in time when it was told to, and had to be killed."""
        self._nursery: Nursery | None = None
        self._code: int | None = None

    def belong_to(self, nursery: Nursery) -> None:
        """Be started by this nursery."""
        self._nursery = nursery

    @property
    def alive(self) -> bool:
        """Whether there is a process that can be killed."""
        return self.pid is not None

    def spawn(self) -> None:
        """Start it."""
        self._code = None
        self.births += 1
        self._tell(start=self.name, module=self.module, environment=self.environment, log=str(self.log))

    def poll(self) -> int | None:
        """Return the exit code of the process started last, or None while it lives."""
        return self._code

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal; does nothing when it is dead."""
        self._tell(name=self.name, signal=int(number))

    def born(self, pid: int) -> None:
        """The nursery has started it."""
        self.pid = pid

    def died(self, code: int) -> None:
        """The nursery has seen it end."""
        self.pid = None
        self._code = code

    def _tell(self, **request: object) -> None:
        if self._nursery:
            self._nursery.tell(request)


class Nursery:
    """The process that forks them, see `nursery.py`, and who keeps them running.

    Started from the main thread: the kernel ends it, and its children, with the thread that started it.
    """

    def __init__(self, processes: list[Process], log: Path, *, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self.processes = {process.name: process for process in processes}
        self._log = log
        self._keepers: dict[str, Keeper] = {}
        self._nursery: subprocess.Popen[bytes] | None = None
        self.gave_up: list[str] = []
        """Processes that ended of themselves, each time they did."""
        self._listening: asyncio.ReadTransport | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._ready = asyncio.Event()
        for process in processes:
            process.belong_to(self)

    async def start(self) -> None:
        """Start the nursery, which takes some seconds, and then every process."""
        command = launcher([sys.executable, "-m", "ops.chaos.stack.fork_server"], death_signal=signal.SIGKILL)
        with self._log.open("ab") as log:
            # The loop's own way to start a process would watch for its end; it only has to be started.
            self._nursery = subprocess.Popen(  # noqa: ASYNC220
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | self._environment,
                start_new_session=True,
            )
        self._tasks.append(asyncio.create_task(self._listen()))
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
        if self._listening:
            self._listening.close()
        if self._nursery and self._nursery.stdin:
            self._nursery.kill()
            self._nursery.stdin.close()
            await asyncio.to_thread(self._nursery.wait)

    def tell(self, request: Mapping[str, Any]) -> None:
        """Ask the nursery for something."""
        if self._nursery and self._nursery.stdin:
            self._nursery.stdin.write(json.dumps(request).encode() + b"\n")
            self._nursery.stdin.flush()

    def forgive(self, name: str) -> None:
        """Start it again without delay when it dies: it is killed from outside, not by itself."""
        self._keepers[name].delay_seconds = RESTART_DELAY_SECONDS_MIN

    async def _listen(self) -> None:
        if self._nursery is None or self._nursery.stdout is None:
            return
        reader = asyncio.StreamReader()
        self._listening, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), self._nursery.stdout
        )
        async for line in reader:
            self._heard(json.loads(line))

    def _heard(self, news: dict[str, Any]) -> None:
        with self._log.open("a") as log:
            log.write(f"{datetime.now(UTC):%H:%M:%S.%f} {json.dumps(news)}\n")
        process = self.processes.get(news["name"])
        if process is None:
            self._ready.set()
        elif "code" in news:
            process.died(news["code"])
            if news["code"] not in ENDS:
                self.gave_up.append(f"{process.name} ended with {news['code']}")
        else:
            process.born(news["pid"])

    async def _keep(self) -> None:
        while True:
            now = time.monotonic()
            for name, keeper in self._keepers.items():
                if self.processes[name].poll() == -signal.SIGKILL:
                    # A fault or a failpoint, no fault of its own: it shall not be made to wait.
                    self.forgive(name)
                keeper.tick(now)
            await asyncio.sleep(TICK_SECONDS)
