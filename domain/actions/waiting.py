"""When a caller that waits for a booking looks at it: when bookings are usually confirmed, then ever more rarely."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.kernel.bookings import BookingStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.kernel.bookings import Booking

FIRST_LOOK_S_MIN = 0.004
FIRST_LOOK_S_MAX = 0.05
"""The earliest and the latest first look. A booking is confirmed after 5 to 10 ms on an idle system, and after up to
50 ms while bookings gather for a batch. Each look costs as much processor time as a status poll.
"""

EARLIER, LATER = 0.85, 1.4
"""The factor for the next first look after one that found the booking changed, and after one that did not.

With these, two first looks of three find it changed, and a wait takes one or two looks at any load.
"""

LONGER = 1.5
"""The time from the start of a wait to a look, as a multiple of the time to the look before."""

PAUSE_S_MAX = 0.25
"""The longest pause between two looks."""

HELD_PAUSE_S_MAX = 1.0
"""The same for a hold, which may last for minutes while thousands of buyers pay."""

AFTER_DEADLINE_S = 0.002
"""How long after the deadline of a hold a wait looks: Redis' clock is read in whole milliseconds."""


class LookTimes:
    """The pauses before the looks of a wait. Learns from all waits of a process when the first look is worth while."""

    def __init__(self) -> None:
        self.first_s = FIRST_LOOK_S_MIN

    def pauses_s(self, *, longest_s: float = PAUSE_S_MAX) -> Iterator[float]:
        """The pauses of one wait, without end: before the first look, before the second, and so on."""
        pause_s = waited_s = self.first_s
        while True:
            yield pause_s
            pause_s = min(waited_s * (LONGER - 1), longest_s)
            waited_s += pause_s

    def note_first_look(self, *, changed: bool) -> None:
        """Learn from the first look at a pending booking."""
        next_s = self.first_s * (EARLIER if changed else LATER)
        self.first_s = min(max(next_s, FIRST_LOOK_S_MIN), FIRST_LOOK_S_MAX)


def longest_pause_s(booking: Booking) -> float:
    """The longest pause between two looks at a booking."""
    return HELD_PAUSE_S_MAX if booking.status is BookingStatus.HELD else PAUSE_S_MAX


def until_deadline_s(booking: Booking) -> float:
    """The time until the deadline of a hold will have passed, by this host's clock; infinite without a deadline.

    Also infinite once it has passed here: if it has not by Redis' clock, which decides, the usual pauses go on.
    """
    if booking.status is not BookingStatus.HELD or booking.due_at is None:
        return float("inf")
    left_s = (booking.due_at - datetime.now(UTC)).total_seconds()
    return left_s + AFTER_DEADLINE_S if left_s > 0 else float("inf")
