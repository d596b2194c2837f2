"""A stack of a run's own: started on a free port with throw-away data, ended by its process id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

import httpx

from domain.platform.settings import Settings
from ops.embedded.stack import EmbeddedStack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READY_SECONDS_MAX = 180
"""A first start makes a database cluster and migrates it; on a busy machine that is most of a minute."""

PROGRESS_SECONDS = 5.0
"""Between two lines that say it is still starting."""

LOOK_SECONDS = 0.2
STOP_SECONDS_MAX = 30
"""How long the stack may take to end in good order before it is killed."""

LOG_LINES_SHOWN = 20


class StackFailed(Exception):
    """The stack did not start; `str()` ends with its last words."""


class Stack:
    """`onsale up` with limits off, as long as the block lasts.

    Its data is in `folder`; what it says goes to `log`, which outlives it.
    """

    def __init__(self, folder: Path, *, log: Path, say: Callable[[str], None], durability: str | None = None) -> None:
        self._durability = {"DURABILITY": durability} if durability else {}
        self._folder = folder
        self._say = say
        self._log = log
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        """Start it; returns when it is ready.

        Raises:
            StackFailed: it ended, or took too long.
        """
        environment = os.environ | {
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATA_DIR": str(self._folder / "data"),
            "RATE_LIMITS": "off",
            **self._durability,
        }
        for name in ("DATABASE_URL", "REDIS_URL", "QUEUE_URL", "JWT_SECRET", "JWT_KEYS_FILE"):
            environment.pop(name, None)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ops.commands.cli", "up", "--end-with-parent"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this process alone, which then ends the stack.
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    def settings(self) -> Settings:
        """The settings that lead to its servers."""
        return Settings.model_validate(
            {name.lower(): value for name, value in EmbeddedStack(self._folder / "data").environment().items()}
        )

    def stop(self) -> None:
        """End it in good order, or by force when it takes too long."""
        if self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self) -> None:
        began_s = said_s = time.monotonic()
        while not self._ready():
            now_s = time.monotonic()
            if self._process.poll() is not None:
                raise StackFailed(self._last_words(f"the stack ended with {self._process.returncode}"))
            if now_s - began_s > READY_SECONDS_MAX:
                raise StackFailed(self._last_words(f"the stack was not ready after {READY_SECONDS_MAX} s"))
            if now_s - said_s > PROGRESS_SECONDS:
                said_s = now_s
                self._say(f"the stack is starting, {now_s - began_s:.0f} s")
            time.sleep(LOOK_SECONDS)
        self._say(f"the stack is ready on {self.url} after {time.monotonic() - began_s:.1f} s")

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=PROGRESS_SECONDS).is_success
        except httpx.TransportError:
            return False

    def _last_words(self, what: str) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return "\n".join([what, *lines])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
