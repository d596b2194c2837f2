"""When sold-out tickets come back: a bounded look at the holds of an event, for refusals only.

During a rush thousands of buyers are refused at once. They share one look at an event, which is used for a second.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from domain.kernel.claims import read_claims
from domain.kernel.refusals import Unavailable
from domain.platform.coalescing import Coalesced

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from domain.kernel.bookings import Booking
    from domain.store.redis.holds import Holds

HOLDS_LOOKED_AT = 64
"""Holds of an event that are looked at: those whose deadlines are next."""

LOOK_AGE_S_MAX = 1.0
EVENTS_MAX = 1_000
"""Events whose last look a process keeps."""


class Releases:
    """Tells when holds end. One per process."""

    def __init__(self, holds: Holds) -> None:
        self._holds = holds
        self._looks: OrderedDict[UUID, tuple[float, list[Booking]]] = OrderedDict()
        self._reads = Coalesced(self._read, too_many=_too_many)

    async def earliest(self, event_id: UUID, counter: str, units: int) -> datetime | None:
        """When the next holds have ended that claim so many units of a counter; None if that is not known."""
        read_s, holds = self._looks.get(event_id, (0.0, []))
        if time.monotonic() - read_s > LOOK_AGE_S_MAX:
            try:
                holds = await self._reads.of(event_id)
            except Unavailable:
                return None
        for hold in sorted((each for each in holds if each.due_at), key=_due_at):
            units -= read_claims(hold.known_claims).get(counter, 0)
            if units <= 0:
                return hold.due_at
        return None

    async def _read(self, event_id: UUID) -> list[Booking]:
        holds = await self._holds.first_due(event_id, limit=HOLDS_LOOKED_AT)
        self._looks[event_id] = time.monotonic(), holds
        self._looks.move_to_end(event_id)
        if len(self._looks) > EVENTS_MAX:
            self._looks.popitem(last=False)
        return holds


def _due_at(hold: Booking) -> datetime:
    if hold.due_at is None:
        message = f"hold {hold.id} has no deadline"
        raise ValueError(message)
    return hold.due_at


def _too_many() -> Unavailable:
    detail = "Too many events are being looked up."
    return Unavailable(detail, retry_after_seconds=1)
