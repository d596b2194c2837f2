"""On-sales that their organisers published, and the arrivals of buyers in a replay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, structs

if TYPE_CHECKING:
    from random import Random

BUYERS_MAX = 20_000
"""Buyers of one run. Each has a connection of its own, and one address has 28,000 ports to connect from."""

PATIENT_BUYERS = 10
"""Buyers beside those of a profile, who wait for returned tickets until all others have left.

Two tickets each are 3 % of 650, so that no returned ticket stays unsold.
"""

TICKETS_PER_BUYER = {1: 14, 2: 210}
"""Weights of the quantities that buyers ask for.

ShmooCon, December 2021: 14 addresses took one ticket and 210 took two. 36 took more, which the limit of two excludes.
"""

POLL_SECONDS_MAX = 5.0
"""The pause of a waiting buyer between two looks, as ShmooCon measured it."""


class SaleProfile(Struct, frozen=True, kw_only=True):
    """An on-sale to replay.

    `arrivals` is the number of buyers in each second from the opening on, spread evenly over the second.
    `held_seconds` is the time in which the organiser's own system had every ticket held.
    """

    name: str
    title: str
    tickets: int
    max_per_user: int
    arrivals: tuple[int, ...]
    held_seconds: float | None = None

    @property
    def buyers(self) -> int:
        """The number of buyers."""
        return sum(self.arrivals)

    def scaled(self, buyers: int) -> SaleProfile:
        """The same curve of arrivals and the same tickets for another number of buyers.

        Raises:
            ValueError: the number is out of range.
        """
        if not 0 < buyers <= BUYERS_MAX:
            message = f"a run has 1 to {BUYERS_MAX} buyers"
            raise ValueError(message)
        come, arrivals = 0, []
        for second in range(len(self.arrivals)):
            due = round(buyers * sum(self.arrivals[: second + 1]) / self.buyers)
            arrivals.append(due - come)
            come = due
        return structs.replace(self, arrivals=tuple(arrivals))

    def arrival_seconds(self, random: Random) -> list[float]:
        """The arrival of each buyer in seconds after the opening, in random order."""
        moments = [second + random.random() for second, count in enumerate(self.arrivals) for _ in range(count)]
        random.shuffle(moments)
        return moments


SHMOOCON_2016 = SaleProfile(
    name="shmoocon-2016",
    title="ShmooCon, December 2016",
    tickets=650,
    max_per_user=2,
    arrivals=(2_000,),
    held_seconds=2.39,
)
"""ShmooCon, December 2016: 650 tickets, all held after 2.39 s.

The number of buyers is not published. 2,000 in the first second is about what the 1,226 addresses a second of December
2017, the next opening of the same size, come to over its duration.
"""

SHMOOCON_2019 = SaleProfile(
    name="shmoocon-2019",
    title="ShmooCon, November 2019",
    tickets=500,
    max_per_user=2,
    arrivals=(3_456,),
    held_seconds=5.08,
)
"""ShmooCon, November 2019: 500 tickets, all held after 5.08 s, 3,456 requests in the busiest second.

Each request of that second is a buyer here, so that all of them ask for tickets.
"""

EMF_2026 = SaleProfile(
    name="emf-2026",
    title="Electromagnetic Field, March 2026",
    tickets=1_934,
    max_per_user=2,
    arrivals=(7, 18, 52, 72, 131, 134, 108, 120, 125, 100, 39, 8, 14, 10, 17, 4, 8),
)
"""Electromagnetic Field, March 2026: reservations made in each second from 20:00:03 on.

Each of the 967 is a sale, so there are tickets enough for two each. Buyers come at these rates whether earlier ones
were answered or not.
"""

PROFILES = {profile.name: profile for profile in (SHMOOCON_2016, SHMOOCON_2019, EMF_2026)}
"""The profiles by name."""
