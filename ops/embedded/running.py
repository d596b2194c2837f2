"""The one starter of whole stacks: `onsale up` of any build, on a free port and in a folder of its own.

Load tests, the bench and measurements start their stacks here. The chaos runner, which breaks single processes and
links, starts servers by `EmbeddedStack` and forks its processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Self, TypeVar

from domain.platform.settings import Settings
from migrations.upgrade import migrate
from ops.embedded.stack import EmbeddedStack
from ops.supervision.listener import free_port
from ops.supervision.process import ProcessFailed
from ops.supervision.program import ONSALE, Program, plain_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    import psutil

Written = TypeVar("Written")

SERVER_SETTINGS = ("DATABASE_URL", "REDIS_URL", "QUEUE_URL", "JWT_SECRET", "JWT_KEYS_FILE")
"""Settings that would lead the stack to other servers than its own."""

PROGRESS_SECONDS = 5.0
"""Between two lines that say the stack is still starting."""

PARTS = {"api": "api", "worker": "worker", "valkey-server": "valkey", "postgres": "postgres"}
"""Each part by its module on the command line, or by the name of its process."""


def inherited_settings() -> dict[str, str]:
    """The caller's environment, without what would lead a stack to other servers."""
    return {name: value for name, value in os.environ.items() if name not in SERVER_SETTINGS}


class RunningStack(Program):
    """PostgreSQL, Valkey, API and workers for as long as a block lasts.

    The stack ends with the block, and also when this process is killed.
    """

    death_signal = signal.SIGTERM

    def __init__(  # noqa: PLR0913  (what stacks differ in)
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        log: Path | None = None,
        onsale: Sequence[str | Path] = ONSALE,
        tree: Path | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Describe the stack; nothing is started yet.

        Args:
            folder: holds the data, and the log unless `log` is given.
            settings: as in the environment of `onsale up`, e.g. API_PROCESSES; by default each has its default.
            environment: the rest of the environment; by default only what every program needs.
            log: the file for the output of `onsale up`.
            onsale: the command line of the build to start.
            tree: the folder of that build's code.
            say: is told about the progress of the start.
        """
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._own = {**(settings or {}), "HOST": "127.0.0.1", "PORT": str(self.port), "DATA_DIR": str(self.data)}
        self._say = say
        base = plain_environment() if environment is None else environment
        log = log or folder / "up.log"
        super().__init__("the stack", [*onsale, "up"], {**base, **self._own}, log=log, folder=tree)

    @property
    def data(self) -> Path:
        """DATA_DIR of the stack."""
        return self.folder / "data"

    def __enter__(self) -> Self:
        """Start the stack; returns when it sells and has its demo data.

        Raises:
            ProcessFailed: it ended, or took too long.
        """
        self.log.unlink(missing_ok=True)
        self.start()
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def furnish(self, write: Callable[[Settings], Coroutine[None, None, Written]]) -> Written:
        """Start the servers alone, migrate, and let `write` fill the database; what it writes is on sale after a start.

        Raises:
            ServerFailed, BinaryMissing, FolderRefused: the servers did not start.
        """
        with EmbeddedStack(self.data) as servers:
            migrate(servers.postgres.url())
            return asyncio.run(write(self.settings()))

    def settings(self) -> Settings:
        """The settings that lead to this stack's servers and sign its tokens."""
        values = self._own | EmbeddedStack(self.data).environment()
        return Settings.model_validate({name.lower(): value for name, value in values.items()})

    def parts(self) -> dict[str, list[psutil.Process]]:
        """The processes that run now as psutil sees them, by part: api, worker, valkey, postgres.

        Raises:
            ProcessFailed: a part has no process.
        """
        import psutil

        found: dict[str, list[psutil.Process]] = {}
        for child in psutil.Process(self.pid).children():
            if part := _part(child):
                found.setdefault(part, []).append(child)
        if missing := set(PARTS.values()) - found.keys():
            message = f"{self.name} runs no {', '.join(sorted(missing))}"
            raise ProcessFailed(message)
        return found

    def rss_bytes(self) -> dict[str, int]:
        """Resident memory of the API, the workers and Valkey; PostgreSQL's processes share theirs."""
        found = self.parts()
        return {part: sum(each.memory_info().rss for each in found[part]) for part in ("api", "worker", "valkey")}

    def _wait_until_ready(self) -> None:
        began_s = said_s = time.monotonic()

        def ready() -> bool:
            nonlocal said_s
            now_s = time.monotonic()
            if now_s - said_s > PROGRESS_SECONDS:
                said_s = now_s
                self._say(f"the stack is starting, {now_s - began_s:.0f} s")
            return "ready after" in self.output

        self.wait_until(ready)
        self._say(f"the stack is ready on {self.url} after {time.monotonic() - began_s:.1f} s")


def _part(process: psutil.Process) -> str | None:
    """Which part a process of a stack is, None for none."""
    words = process.cmdline()
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return PARTS.get(module) or PARTS.get(process.name())
