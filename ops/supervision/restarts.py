"""Restarts of processes that died."""

from __future__ import annotations

from typing import Protocol

RESTART_DELAY_SECONDS_MIN = 0.1
"""Before the first restart; with the start, a killed worker is missing for about a second."""

RESTART_DELAY_SECONDS_MAX = 2.0
"""The longest wait: a worker ends when Valkey does, and has to be back soon after Valkey is."""

HEALTHY_SECONDS = 10.0
"""A process that ran this long is restarted after the shortest wait."""


class Restartable(Protocol):
    """A process that a keeper restarts: one of the Procfile, or an embedded server."""

    name: str

    def spawn(self) -> None:
        """Start the process."""

    def poll(self) -> int | None:
        """Return the exit code, or None while the process lives."""


class Keeper:
    """Restarts one process whenever it dies, with a longer wait after each short life."""

    def __init__(self, process: Restartable, *, now: float) -> None:
        """Keep `process`, which was just started. Times are seconds of a monotonic clock."""
        self.process = process
        self.delay_seconds = RESTART_DELAY_SECONDS_MIN
        self._started_at = now
        self._restart_at: float | None = None

    def tick(self, now: float) -> str | None:
        """Check the process, restart it when its wait is over, and return news for the console, if any."""
        code = self.process.poll()
        if code is None:
            return None
        if self._restart_at is None:
            return self._plan_restart(code, now)
        if now < self._restart_at:
            return None
        self._restart_at = None
        self._started_at = now
        self.process.spawn()
        return "started again"

    def _plan_restart(self, code: int, now: float) -> str:
        if now - self._started_at >= HEALTHY_SECONDS:
            self.delay_seconds = RESTART_DELAY_SECONDS_MIN
        delay_seconds = self.delay_seconds
        self._restart_at = now + delay_seconds
        self.delay_seconds = min(delay_seconds * 2, RESTART_DELAY_SECONDS_MAX)
        how = f"was ended by signal {-code}" if code < 0 else f"ended with {code}"
        return f"{how}; starts again in {delay_seconds:.1f} s"
