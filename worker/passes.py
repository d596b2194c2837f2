"""The sweep: some times a second, every worker looks for what no doorbell announced."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from msgspec import structs

from domain.background.clearing import clear_event
from domain.background.closing import FIRST, close_past_events_once
from domain.background.follow_ups import FollowUps
from domain.background.passes import repeat
from domain.background.persisting import persist
from domain.background.rebuilding import rebuild_if_needed
from domain.background.retention import delete_expired_once
from domain.platform.failpoints import Protection, protected

if TYPE_CHECKING:
    from domain.engine import Stores

log = structlog.get_logger()

SWEEP_INTERVAL_S = 0.25
"""One round trip to Redis; with the lease and `OVERDUE_MS` it is how long a dead worker can delay a booking."""

CLEARING_INTERVAL_S = 1.0
PULSE_INTERVAL_S = 0.25
"""How soon a worker notices that the inventory has to be rebuilt."""

RETENTION_INTERVAL_S = 60.0
RETENTION_AGAIN_S = 1.0
"""How soon the next batch is deleted after one that found something: 18 million rows an hour at most."""

CLOSING_INTERVAL_S = 60.0
CLOSING_AGAIN_S = 1.0
"""How soon the next past events are closed after a call that closed some."""

CLOSING_PUT_OFF_S = 5.0
"""How soon past events are looked at again of which something was still on its way."""

CLOCKS_INTERVAL_S = 5.0

CLEARING_MAX = 100
"""Cancelled events whose clearing is asked for in one sweep."""

FOLLOW_UPS_INTERVAL_S = 1.0
FOLLOW_UPS_MAX = 50
"""Changed accounts that are followed up in one sweep."""

OVERDUE_MS = 200
"""A booking unpersisted for longer than this was announced by a doorbell that nobody heard."""


async def sweep(stores: Stores) -> None:
    """Sweep until cancelled; servers that are away are asked again the next time."""
    await repeat("sweep", lambda: sweep_once(stores), every_s=SWEEP_INTERVAL_S)


async def go_on_clearing(stores: Stores) -> None:
    """Have cancelled events cleared until cancelled, those also whose clearing was cut short.

    While the queue takes no jobs, one event after the other is cleared here.
    """

    async def once() -> None:
        if untold := await stores.box_office.go_on_clearing(limit=CLEARING_MAX):
            await clear_event(stores, untold)

    await repeat("clearing", once, every_s=CLEARING_INTERVAL_S)


async def watch_clocks(stores: Stores) -> None:
    """Notice clocks that are set, and log it, until cancelled."""
    await repeat("clocks", stores.clocks.look, every_s=CLOCKS_INTERVAL_S)


async def keep_retention(stores: Stores) -> None:
    """Delete what is past its retention until cancelled."""

    async def once() -> float:
        deleted = await delete_expired_once(stores)
        if not deleted.total:
            return RETENTION_INTERVAL_S
        log.info("expired_rows_deleted", **structs.asdict(deleted))
        return RETENTION_AGAIN_S

    await repeat("retention", once, every_s=RETENTION_INTERVAL_S)


async def close_past_events(stores: Stores) -> None:
    """Close events of the past until cancelled."""
    position = FIRST

    async def once() -> float:
        nonlocal position
        done = await close_past_events_once(stores, position)
        position = done.going_on
        if done.closed or done.leftovers:
            log.info("past_events_closed", closed=done.closed, leftovers=done.leftovers)
        if done.closed:
            return CLOSING_AGAIN_S
        return CLOSING_PUT_OFF_S if done.put_off else CLOSING_INTERVAL_S

    await repeat("closing", once, every_s=CLOSING_INTERVAL_S)


async def go_on_following_up(stores: Stores) -> None:
    """Follow changes of accounts up until cancelled, those also whose request was cut short."""
    follow_ups = FollowUps(stores.accounts, stores.sessions, stores.admission, stores.box_office)
    await repeat("follow_ups", lambda: follow_ups.run_due(limit=FOLLOW_UPS_MAX), every_s=FOLLOW_UPS_INTERVAL_S)


async def sweep_once(stores: Stores) -> int:
    """Persist every partition that has something overdue; answers how many bookings were written."""
    written = 0
    if not protected(Protection.SWEEP):
        return written
    for partition, pulse in enumerate(await stores.inventory.pulses()):
        # Below 0, the clock was set back since, and doorbells that rang before it are heard of no more.
        if not 0 <= pulse.oldest_age_ms <= OVERDUE_MS:
            written += await persist(stores, partition)
    return written


async def keep_in_order(stores: Stores) -> None:
    """Rebuild the inventory whenever it needs it, until cancelled."""
    await repeat("rebuild", lambda: rebuild_if_needed(stores), every_s=PULSE_INTERVAL_S)
