"""Clocks: readings of one's own and of other machines', how far they are apart, and whether one was set.

A clock that is set moves away from a monotonic one, which nobody sets. Decisions only; no server is asked here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

APART_MS_MAX = 5_000
"""How far two machines' clocks may be apart: hosts that differ from a server by this at most read each other's tokens,
which leave ten seconds (`LEEWAY_S`)."""

OK = "ok"

STEP_MS_MAX = 500
"""By how much a clock may move against a monotonic one, beyond what the round trips leave open, before it counts as
set. Time services slew by half a millisecond a second."""


class Moment(Struct, frozen=True):
    """A clock that was read at some moment between two moments of this process' monotonic clock."""

    at_ms: int
    sent_s: float
    received_s: float

    @property
    def offset_ms(self) -> tuple[float, float]:
        """How far the clock is ahead of the monotonic one, at least and at most."""
        return self.at_ms - 1000 * self.received_s, self.at_ms - 1000 * self.sent_s


def step_ms(earlier: Moment, later: Moment) -> int:
    """By how much a clock was set between two readings, at least; below 0 for back, 0 when it was not."""
    least_before, most_before = earlier.offset_ms
    least_after, most_after = later.offset_ms
    forward, back = least_after - most_before, least_before - most_after
    if forward > STEP_MS_MAX:
        return round(forward)
    if back > STEP_MS_MAX:
        return -round(back)
    return 0


class HostClock:
    """This host's wall clock. What it has shown once is remembered, so that a step back locks nobody out."""

    def __init__(
        self, wall_s: Callable[[], float] = time.time, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._offset_s = wall_s() - monotonic_s()

    def read(self) -> tuple[float, float]:
        """The time, and what it would be had the clock never been set back: nothing issued by then is of the future."""
        now_s, passed_s = self._wall_s(), self._monotonic_s()
        self._offset_s = max(self._offset_s, now_s - passed_s)
        return now_s, passed_s + self._offset_s

    def learn(self, ahead_ms: int) -> None:
        """Hear that a server's clock is ahead by so much: other hosts may have issued something by then."""
        self._offset_s = max(self._offset_s, self._wall_s() + ahead_ms / 1000 - self._monotonic_s())


class Compared(Struct, frozen=True):
    """How far the servers' clocks are ahead of this host's, at least; None for one that does not answer."""

    redis_ms: int | None
    postgresql_ms: int | None

    @property
    def host_is_off(self) -> bool:
        """Whether it is this host's clock that is wrong: both servers' agree on another time."""
        redis_ms, postgresql_ms = self.redis_ms or 0, self.postgresql_ms or 0
        apart = abs(redis_ms) > APART_MS_MAX and abs(postgresql_ms) > APART_MS_MAX
        return apart and abs(redis_ms - postgresql_ms) <= APART_MS_MAX

    def told(self) -> str:
        """Which clock is off and by how much, `ok` when none is."""
        if self.host_is_off:
            return f"this host's clock is {_ahead(-(self.redis_ms or 0))} Redis' and PostgreSQL's"
        servers = {"Redis'": self.redis_ms or 0, "PostgreSQL's": self.postgresql_ms or 0}
        off = [f"{name} clock is {_ahead(by)} this host's" for name, by in servers.items() if abs(by) > APART_MS_MAX]
        return "; ".join(off) or OK


def apart_ms(server_ms: float, *, before_ms: float, after_ms: float) -> int:
    """How far a server's clock is ahead of ours, at least, that was read between two moments of ours."""
    return round(min(server_ms - before_ms, 0) or max(server_ms - after_ms, 0))


def _ahead(by_ms: int) -> str:
    return f"{abs(by_ms) / 1000:.0f} s {'ahead of' if by_ms > 0 else 'behind'}"


def step_told(by_ms: int) -> str:
    """A step in words."""
    return f"set {'forward' if by_ms > 0 else 'back'} by {abs(by_ms) / 1000:.0f} s"
