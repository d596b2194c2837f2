"""Clocks: readings of another machine's clock, and whether it was set between two of them.

A clock that is set moves away from a monotonic one, which nobody sets. Decisions only; no server is asked here.
"""

from __future__ import annotations

from msgspec import Struct

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
