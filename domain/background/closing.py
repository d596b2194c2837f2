"""Closing: removes past events from Redis, so that the cost of a rebuild depends only on the events on sale."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from msgspec import Struct

if TYPE_CHECKING:
    from domain.engine import Stores

log = structlog.get_logger()

CLOSED_EVENTS_MAX = 50
"""Events that one call closes, each in a transaction of some milliseconds."""

SCANS_MAX = 50
"""Pages of Redis' keys that one call searches for counters without an owner: 50,000 keys, 1 ms per page."""


class Position(Struct, frozen=True):
    """The position of a pass: the last event (None at the beginning), and the cursor of Redis' keys."""

    after: UUID | None = None
    cursor: int = 0


FIRST = Position()
"""The position of the first call."""


class Closed(Struct, frozen=True):
    """The result of one call, and the position of the next one.

    `put_off` is the number of events that could not be closed yet, because some of their changes were still in flight.
    """

    closed: int
    leftovers: int
    going_on: Position
    put_off: int = 0


class ClosingRounds:
    """Closes past events in calls, each of which continues where the one before stopped."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._position = FIRST

    async def close_once(self) -> Closed:
        """Close the next past events; raises as `close_past_events_once`."""
        done = await close_past_events_once(self._stores, self._position)
        self._position = done.going_on
        if done.closed or done.leftovers:
            log.info("past_events_closed", closed=done.closed, leftovers=done.leftovers)
        return done


async def close_past_events_once(stores: Stores, begin: Position = FIRST, *, limit: int = CLOSED_EVENTS_MAX) -> Closed:
    """Close events that were over EVENT_CLOSE_AFTER_DAYS ago, at most `limit`, and remove counters without an owner.

    The event is closed in PostgreSQL first, then its counters are removed. A call that dies in between leaves counters
    that are not used for sales. A Redis that is restored from older data may bring such counters back, and a process
    that dies while it creates an event leaves counters without an event. All kinds are found by a scan of Redis' keys.

    Raises:
        Unavailable, EpochOver: the next call continues.
    """
    kept = stores.retention.past_counters
    past = await stores.past_events.past(kept=kept, after=begin.after, limit=limit)
    closed = 0
    for event_id in past:
        event = await stores.past_events.mark_closed(event_id, kept=kept)
        if event is not None:
            await stores.inventory.remove_counters(event_id, terms=event.terms_token)
            closed += 1
    if len(past) == limit:
        return Closed(closed, 0, Position(past[-1], begin.cursor), len(past) - closed)
    leftovers, cursor = await _remove_leftovers(stores, begin.cursor)
    return Closed(closed, leftovers, Position(None, cursor), len(past) - closed)


async def _remove_leftovers(stores: Stores, cursor: int) -> tuple[int, int]:
    """Search some of Redis' keys for counters that no event owns; returns the number removed, and the next cursor."""
    removed = 0
    for _ in range(SCANS_MAX):
        cursor, found = await stores.inventory.with_counters(cursor)
        for event_id in await stores.events.without_counters(found):
            removed += await stores.past_events.remove_leftovers(event_id)
        if cursor == 0:
            break
    return removed, cursor
