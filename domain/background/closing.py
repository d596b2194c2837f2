"""Closing: events of the past leave Redis, so that a rebuild costs what is on sale, not what was ever sold."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

if TYPE_CHECKING:
    from domain.engine import Stores

CLOSED_EVENTS_MAX = 50
"""Events that one call closes, each in a transaction of some milliseconds."""

SCANS_MAX = 50
"""Pages of Redis' keys that one call looks through for counters of closed events: 50,000 keys, a millisecond a page."""


class Position(Struct, frozen=True):
    """Where a pass goes on: after which event, None for the first, and at which cursor of Redis' keys."""

    after: UUID | None = None
    cursor: int = 0


FIRST = Position()
"""Where the first call begins."""


class Closed(Struct, frozen=True):
    """What one call did, and where the next one goes on.

    `put_off` events could not be closed yet: something of them was still on its way.
    """

    closed: int
    leftovers: int
    going_on: Position
    put_off: int = 0


async def close_past_events_once(stores: Stores, begin: Position = FIRST, *, limit: int = CLOSED_EVENTS_MAX) -> Closed:
    """Close events that were over EVENT_CLOSE_AFTER_DAYS ago, at most `limit`, and remove counters of closed ones.

    PostgreSQL is told first, then the counters are removed. A call that dies in between leaves counters that nothing is
    sold by; like those that Redis brought back with older data, they are found among Redis' keys.

    Raises:
        Unavailable, EpochOver: the next call goes on.
    """
    kept = stores.retention.past_counters
    past = await stores.catalog.past(kept=kept, after=begin.after, limit=limit)
    closed = 0
    for event_id in past:
        event = await stores.catalog.mark_closed(event_id, kept=kept)
        if event is not None:
            await stores.inventory.remove_counters(event_id, terms=event.terms_token)
            closed += 1
    if len(past) == limit:
        return Closed(closed, 0, Position(past[-1], begin.cursor), len(past) - closed)
    leftovers, cursor = await _remove_leftovers(stores, begin.cursor)
    return Closed(closed, leftovers, Position(None, cursor), len(past) - closed)


async def _remove_leftovers(stores: Stores, cursor: int) -> tuple[int, int]:
    """Look through some of Redis' keys; answers how many closed events had counters, and where to go on."""
    removed = 0
    for _ in range(SCANS_MAX):
        cursor, found = await stores.inventory.with_counters(cursor)
        for event_id in await stores.catalog.closed_among(found):
            removed += await stores.catalog.remove_leftovers(event_id)
        if cursor == 0:
            break
    return removed, cursor
