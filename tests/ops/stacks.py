"""Whole stacks, started like an operator's, with stand-ins for the API and the worker that start at once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from ops.supervision.listener import free_port
from tests.ops.forked_commands import run_forked
from tests.processes import LOOK_EVERY_SECONDS, READY_SECONDS_MAX, ROOT, Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMMAND_SECONDS_MAX = 110

JWT_SECRET = "a secret of tests that is long enough to be one"

STAND_IN_API = """\
import http.server, os, socket

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(str(os.getpid()).encode())

server = http.server.HTTPServer(("", 0), Answer, bind_and_activate=False)
server.socket = socket.socket(fileno=int(os.environ["LISTEN_FD"]))
server.serve_forever()
"""

STAND_IN_WORKER = """\
import os, signal
print("working as", os.getpid(), flush=True)
signal.pause()
"""


class Stack(Process):
    """An `onsale up`; with `embedded`, on servers of its own in `folder`, else it gets URLs that nobody asks."""

    def __init__(self, folder: Path, *, worker: str = STAND_IN_WORKER, embedded: bool = False, **settings: str) -> None:
        (folder / "api.py").write_text(STAND_IN_API)
        (folder / "worker.py").write_text(worker)
        procfile = folder / "Procfile"
        procfile.write_text(f"api: python {folder}/api.py\nworker: python {folder}/worker.py\n")
        self.folder = folder
        self.port = int(settings.setdefault("PORT", str(free_port())))
        command = ["tests.ops.supervision.run_up", str(procfile)]
        super().__init__(command, environment(folder, embedded=embedded, **settings))

    def wait_until_ready(self) -> None:
        """Return when it says where to click."""
        self.wait_until_it_says("ready after")

    def wait_until_it_says(self, words: str) -> None:
        """Return when its output has `words`."""
        self.wait_until(lambda: words in self.output)

    def said(self, words: str) -> list[str]:
        """The lines of its output that have `words`."""
        return [line for line in self.output.splitlines() if words in line]

    def worker_pids(self) -> list[int]:
        """The workers it has started so far, by what they said."""
        return [int(line.split(" working as ")[1].split()[0]) for line in self.said(" working as ")]

    def processes(self) -> list[psutil.Process]:
        """The living processes that belong to this stack."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def discard(self) -> None:
        """Kill whatever is left of it."""
        super().discard()
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _owns(self, process: psutil.Process) -> bool:
        # Servers run in a folder of the stack's; everything else has it on its command line.
        folder = str(self.folder)
        try:
            alive = process.status() != psutil.STATUS_ZOMBIE
            return alive and (process.cwd().startswith(folder) or folder in " ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return False


def environment(folder: Path, *, embedded: bool, **settings: str) -> dict[str, str]:
    """An operator's environment; nothing in it comes from ours but the way to Python."""
    urls = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "QUEUE_URL": "redis://127.0.0.1:1/1",
        "JWT_SECRET": JWT_SECRET,
    }
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(folder / "data"),
        **({} if embedded else urls),
        **settings,
    }


def onsale(
    arguments: list[str], environment: dict[str, str], stdin: str = "", *, forked: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run the operator's command line to its end; unless `forked`, started as an operator starts it."""
    if forked:
        return run_forked(arguments, environment, stdin, seconds=COMMAND_SECONDS_MAX)
    return subprocess.run(
        [sys.executable, "-m", "ops.commands.cli", *arguments],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS_MAX,
        check=False,
    )


def lives(process: psutil.Process) -> bool:
    """Whether it runs and is not only waited for."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def soon(is_so: Callable[[], bool], *, seconds: float = READY_SECONDS_MAX) -> bool:
    """Whether `is_so` says yes before long."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(LOOK_EVERY_SECONDS)
    return True
