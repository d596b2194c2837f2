"""When a process that died is started again."""

from __future__ import annotations

from typing import Protocol

RESTART_DELAY_SECONDS_MIN = 0.1
"""The wait before the first restart: a killed worker is missed for about a second with its start."""

RESTART_DELAY_SECONDS_MAX = 2.0
"""The longest wait: a worker ends when Valkey goes away, and has to be back soon after Valkey is."""

HEALTHY_SECONDS = 10.0
"""A process that lived this long starts again with the shortest wait."""


class Restartable(Protocol):
    """What a keeper keeps alive: a process of the Procfile or an embedded server."""

    name: str

    def spawn(self) -> None:
        """Start the process."""

    def poll(self) -> int | None:
        """Return the exit code, or None while the process lives."""


class Keeper:
    """Starts one process again whenever it has died, later each time it dies young."""

    def __init__(self, process: Restartable, *, now: float) -> None:
        """Keep `process`, which was just started. Times are seconds of one monotonic clock."""
        self.process = process
        self.delay_seconds = RESTART_DELAY_SECONDS_MIN
        self._started_at = now
        self._restart_at: float | None = None

    def tick(self, now: float) -> str | None:
        """Look at the process, restart it if its time has come, and return what there is to tell, if anything."""
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
