"""Clearing: the bookings of cancelled events are cancelled, in batches, however often it is killed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from domain.events import from_ms

if TYPE_CHECKING:
    from uuid import UUID

    from domain.store.connect import Stores

log = structlog.get_logger()

EVENTS_MAX = 10
"""Cancelled events one pass works on."""

BATCHES_MAX = 50
"""Batches of one event in one pass; the next pass goes on."""


async def clear_once(stores: Stores) -> int:
    """Go on with every cancelled event that still holds places; answers how many are done now."""
    done = 0
    for event_id in await stores.catalog.uncleared(limit=EVENTS_MAX):
        done += await clear_event_once(stores, event_id)
    return done


async def clear_event_once(stores: Stores, event_id: UUID) -> bool:
    """One round over an event's bookings; True when none of them holds places any more."""
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
