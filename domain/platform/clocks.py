"""Clocks: compares readings of this host's and other machines' clocks, and detects that a clock was set.

A clock that is set moves relative to a monotonic clock, which is never set. No server is called here.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

APART_MS_MAX = 5_000
"""How far the clocks of two machines may be apart.

Two hosts that each differ from a server by at most this accept each other's tokens, whose leeway is ten seconds
(`LEEWAY_S`).
"""

OK = "ok"

STEP_MS_MAX = 500
"""How far a clock may move against a monotonic one, beyond the uncertainty of the round trips, before it counts as set.
Time services slew by half a millisecond per second."""


class Moment(Struct, frozen=True):
    """A reading of a clock, taken between two readings of this process' monotonic clock."""

    at_ms: int
    sent_s: float
    received_s: float

    @property
    def offset_ms(self) -> tuple[float, float]:
        """The lower and the upper bound of the clock's lead over the monotonic clock."""
        return self.at_ms - 1000 * self.received_s, self.at_ms - 1000 * self.sent_s


def step_ms(earlier: Moment, later: Moment) -> int:
    """The least by which a clock was set between two readings; negative for back, 0 when it was not set."""
    least_before, most_before = earlier.offset_ms
    least_after, most_after = later.offset_ms
    forward, back = least_after - most_before, least_before - most_after
    if forward > STEP_MS_MAX:
        return round(forward)
    if back > STEP_MS_MAX:
        return -round(back)
    return 0


class HostClock:
    """This host's wall clock. It remembers the latest time it has shown, so that a step back refuses no token."""

    def __init__(
        self, wall_s: Callable[[], float] = time.time, monotonic_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_s = wall_s
        self._monotonic_s = monotonic_s
        self._offset_s = wall_s() - monotonic_s()

    def read(self) -> tuple[float, float]:
        """The time, and the time as if the clock had never been set back.

        A token that was issued before the second is not from the future.
        """
        now_s, passed_s = self._wall_s(), self._monotonic_s()
        self._offset_s = max(self._offset_s, now_s - passed_s)
        return now_s, passed_s + self._offset_s

    def learn(self, ahead_ms: int) -> None:
        """Note that a server's clock is ahead by `ahead_ms`: other hosts may have issued tokens at that time."""
        self._offset_s = max(self._offset_s, self._wall_s() + ahead_ms / 1000 - self._monotonic_s())


class ClockComparison(Struct, frozen=True):
    """How far at least the servers' clocks are ahead of this host's; None for a server that does not answer."""

    redis_ms: int | None
    postgresql_ms: int | None

    @property
    def host_is_off(self) -> bool:
        """Whether this host's clock is the wrong one: those of both servers agree on another time."""
        redis_ms, postgresql_ms = self.redis_ms or 0, self.postgresql_ms or 0
        apart = abs(redis_ms) > APART_MS_MAX and abs(postgresql_ms) > APART_MS_MAX
        return apart and abs(redis_ms - postgresql_ms) <= APART_MS_MAX

    def describe(self) -> str:
        """The clocks that are off, and by how much; `ok` when none is."""
        if self.host_is_off:
            return f"this host's clock is {_ahead(-(self.redis_ms or 0))} Redis' and PostgreSQL's"
        servers = {"Redis'": self.redis_ms or 0, "PostgreSQL's": self.postgresql_ms or 0}
        off = [f"{name} clock is {_ahead(by)} this host's" for name, by in servers.items() if abs(by) > APART_MS_MAX]
        return "; ".join(off) or OK


def apart_ms(server_ms: float, *, before_ms: float, after_ms: float) -> int:
    """The least by which a server's clock, read between two readings of ours, is ahead of ours."""
    return round(min(server_ms - before_ms, 0) or max(server_ms - after_ms, 0))


def _ahead(by_ms: int) -> str:
    return f"{abs(by_ms) / 1000:.0f} s {'ahead of' if by_ms > 0 else 'behind'}"


def describe_step(by_ms: int) -> str:
    """A step in words."""
    return f"set {'forward' if by_ms > 0 else 'back'} by {abs(by_ms) / 1000:.0f} s"
