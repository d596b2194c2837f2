"""`onsale up`: runs the whole system, and leaves nothing running when it ends."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ops.commands.demo_credentials import DEMO_FILE, demo_is_complete
from ops.embedded.binaries import check_binaries, mimalloc
from ops.embedded.folder_lock import held
from ops.embedded.stack import EmbeddedStack
from ops.supervision.console import Console
from ops.supervision.launcher import PR_SET_PDEATHSIG
from ops.supervision.listener import listen
from ops.supervision.process import Child
from ops.supervision.procfile import read_procfile
from ops.supervision.program import ONSALE
from ops.supervision.readiness import ReadinessPoller, base_url, reachable_host
from ops.supervision.supervisor import Stopped, Supervisor

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from domain.platform.settings import Settings
    from ops.embedded.folder_lock import Hold

PROGRESS_SECONDS = 5.0
"""Between two lines of progress; after a longer silence people press Ctrl-C."""


class StartFailed(Exception):
    """A step of the start failed; its output was printed."""


@dataclass(frozen=True)
class Plan:
    """Differences between a real stack and one of a test."""

    procfile: Path = Path(__file__).parent.parent.parent / "Procfile"
    ready_path: str = "/health/ready"
    steps: bool = True
    """Whether to migrate, and to make demo data at the first start."""


def up(settings: Settings, plan: Plan) -> None:
    """Run the system until Ctrl-C, SIGTERM or the end of the terminal.

    Raises:
        SettingsRefused, BinaryMissing, AlreadyRunning, PortTaken, AddressRefused, ProcfileRefused: before anything
            was started.
        ServerFailed, FolderRefused, FileBroken, StartFailed: after everything was stopped again.
    """
    commands = read_procfile(plan.procfile)
    counts = {"api": settings.api_processes, "worker": settings.worker_processes}
    names = [f"{kind}.{number}" for kind in commands for number in range(1, counts.get(kind, 1) + 1)]
    with contextlib.ExitStack() as stack:
        hold, listener = _hold_and_listen(settings, stack)
        console = Console(["onsale", "postgres", "valkey", "migrate", "demo", *names])
        stack.callback(console.close)
        run = _Run(settings, plan, Supervisor(console), console, hold)
        with contextlib.suppress(Stopped):
            run.everything({name: commands[name.split(".")[0]] for name in names}, listener)


def _hold_and_listen(settings: Settings, stack: contextlib.ExitStack) -> tuple[Hold | None, socket.socket]:
    """Hold the data folder and listen.

    An existing folder is held first: the process that holds it may also be the one on the port. A new folder is made
    only after the port is bound.
    """
    if not settings.embedded:
        return None, stack.enter_context(listen(settings.host, settings.port))
    check_binaries()
    token_seconds = max(settings.refresh_token_seconds, settings.access_token_seconds)
    holding = held(settings.data_dir, port=settings.port, token_seconds=token_seconds)
    if settings.data_dir.is_dir():
        return stack.enter_context(holding), stack.enter_context(listen(settings.host, settings.port))
    listener = stack.enter_context(listen(settings.host, settings.port))
    return stack.enter_context(holding), listener


def end_with_parent() -> None:
    """Receive SIGTERM when the process that started this one ends, also when it is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


class _Run:
    """One run of the system; each method is a step, in the order of the start."""

    def __init__(
        self, settings: Settings, plan: Plan, supervisor: Supervisor, console: Console, hold: Hold | None
    ) -> None:
        self._hold = hold
        self._settings = settings
        self._plan = plan
        self._supervisor = supervisor
        self._console = console
        self._began_at = time.monotonic()

    def everything(self, processes: Mapping[str, list[str]], listener: socket.socket) -> None:
        with self._servers() as environment:
            try:
                if self._plan.steps:
                    self._migrate(environment)
                if self._hold:
                    self._hold.tell_serving()
                self._start(processes, environment, listener)
                self._wait_until_ready(environment)
                self._supervisor.wait(lambda: False)
            finally:
                self._say("stopping")
                # New connections are refused at once, instead of waiting in vain.
                listener.close()
                self._supervisor.stop()

    @contextlib.contextmanager
    def _servers(self) -> Iterator[dict[str, str]]:
        """Run the embedded servers unless URLs are set; yields the environment of the processes."""
        if not self._settings.embedded:
            yield dict(os.environ)
            return
        self._say(f"starting PostgreSQL and Valkey in {self._settings.data_dir}")
        if not mimalloc():
            self._say("mimalloc is not installed here: Valkey uses the slower memory allocator of the C library")
        stack = EmbeddedStack(self._settings.data_dir)
        try:
            stack.spawn()
            stack.wait_until_ready(pause=self._supervisor.turn)
            for server in stack.servers:
                self._supervisor.keep(server)
            # These servers are reached by sockets of this machine, so payments without money can be tried.
            yield {"TEST_PAYMENTS": "on"} | os.environ | stack.environment()
        finally:
            stack.stop()
            self._say("stopped")

    def _migrate(self, environment: Mapping[str, str]) -> None:
        child = Child("migrate", [*ONSALE, "migrate"], environment)
        self._supervisor.start(child)
        self._supervisor.wait(child.finished)
        if child.poll() != 0:
            message = "the database could not be migrated"
            raise StartFailed(message)

    def _start(
        self, processes: Mapping[str, list[str]], environment: Mapping[str, str], listener: socket.socket
    ) -> None:
        common = {**environment, "PORT": str(self._settings.port), "PYTHONUNBUFFERED": "1"}
        for name, command in processes.items():
            if name.startswith("api."):
                # The API processes share a socket, so that no connection is refused during a restart.
                fd = listener.fileno()
                # SIGINT: the whole stack ends, so that no other process could take over the requests.
                child = Child(name, command, {**common, "LISTEN_FD": str(fd)}, pass_fds=[fd], stop_signal=signal.SIGINT)
            else:
                child = Child(name, command, common)
            self._supervisor.keep_child(child)

    def _wait_until_ready(self, environment: Mapping[str, str]) -> None:
        readiness = ReadinessPoller(reachable_host(self._settings.host), self._settings.port, self._plan.ready_path)
        readiness.start()
        demo = self._start_demo(environment)
        next_progress_at = self._began_at + PROGRESS_SECONDS
        while not readiness.ready.is_set() or (demo is not None and not demo.finished()):
            self._supervisor.turn()
            if time.monotonic() > next_progress_at:
                next_progress_at += PROGRESS_SECONDS
                waiting_for = "demo data" if readiness.ready.is_set() else f"readiness: {readiness.last_answer}"
                self._say(f"waiting for {waiting_for}")
        self._say_where()

    def _start_demo(self, environment: Mapping[str, str]) -> Child | None:
        """Make demo data at the first start on embedded servers; events need workers, which run meanwhile."""
        demo_file = self._settings.data_dir / DEMO_FILE
        if not self._plan.steps or not self._settings.embedded or demo_is_complete(demo_file):
            return None
        port = str(self._settings.port)
        child = Child("demo", [*ONSALE, "demo"], {**environment, "PORT": port})
        self._supervisor.start(child)
        return child

    def _say_where(self) -> None:
        url = base_url(self._settings.host, self._settings.port)
        seconds = time.monotonic() - self._began_at
        try_it = f" To log in and book, type: {os.path.relpath(sys.argv[0])} demo" if self._settings.embedded else ""
        self._say(f"ready after {seconds:.1f} s. Open {url}/ or {url}/api/v1/docs.{try_it}")

    def _say(self, text: str) -> None:
        self._console.say("onsale", text)
