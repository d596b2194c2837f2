"""Clearing: cancels the bookings of cancelled events in batches. It may be killed at any point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from domain.kernel.times import from_ms

if TYPE_CHECKING:
    from uuid import UUID

    from domain.engine import Stores

log = structlog.get_logger()

EVENTS_MAX = 100
"""Cancelled events whose clearing one call queues."""

BATCHES_MAX = 20
"""Batches of one call: 4,000 bookings, well within the time limit of a job; the next call continues."""


async def clear_cancelled_events_once(stores: Stores, *, limit: int = EVENTS_MAX) -> int:
    """Queue the clearing of cancelled events whose job was lost or is not done; returns how many are cleared here.

    One event is cleared in this process if the queue accepts no jobs.
    """
    unqueued = await stores.event_actions.go_on_clearing(limit=limit)
    if unqueued is None:
        return 0
    await clear_event(stores, unqueued)
    return 1


async def clear_event(stores: Stores, event_id: UUID) -> bool:
    """Cancel bookings of an event for one call; True when none of them holds tickets any more.

    It may be killed at any point and run twice. `booked` of the event decreases meanwhile.

    Raises:
        Unavailable: a server cannot be reached; the next call continues.
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
