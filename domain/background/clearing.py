"""Clearing: the bookings of cancelled events are cancelled, in batches, however often it is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from domain.kernel.times import from_ms

if TYPE_CHECKING:
    from uuid import UUID

    from domain.engine import Stores

log = structlog.get_logger()

BATCHES_MAX = 20
"""Batches of one call: 4,000 bookings, well within the time a job may take; the next call goes on."""


async def clear_event(stores: Stores, event_id: UUID) -> bool:
    """A round over an event's bookings; True when none of them holds places any more.

    Safe to be killed anywhere and to run twice. `booked` of the event counts down meanwhile.

    Raises:
        Unavailable: a server is away; the next call goes on.
    """
    last: UUID | None = None
    for _ in range(BATCHES_MAX):
        last, taken = await stores.box_office.clear_event(event_id, after=last)
        if taken == 0:
            await stores.catalog.mark_cleared(event_id, now=from_ms(await stores.inventory.now_ms()))
            log.info("event_cleared", event_id=str(event_id))
            return True
        if last is None:
            break
    return False
