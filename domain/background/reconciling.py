"""Reconciling: a bounded pass that compares the counters with the bookings and repairs them during traffic.

`domain.kernel.differences` decides what a difference is, and which repair it needs.
"""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from msgspec import Struct

from domain.background.portions import portions
from domain.background.rebuilding import in_order, rebuild
from domain.kernel.differences import CounterBooks, Difference, Fault, Repair, confirmed, differences
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import CapacityBelowSold
from domain.kernel.times import from_ms
from domain.platform.clocks import step_ms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from domain.engine import Stores
    from domain.kernel.bookings import Booking

log = structlog.get_logger()

EVENTS_PER_PAGE = 100
UNITS_PER_PAGE = 20_000
"""Units taken of the events that are compared at once, unless a single event has more. A comparison takes 0.1 s,
during which this worker persists nothing."""

UNPERSISTED_MAX = 50_000
"""Unpersisted bookings that a pass reads of a partition; if there are more, the next pass compares again."""

SECOND_READING_S = 0.1
"""The time between two readings: longer than a batch takes from being read to being settled."""

SCANS_MAX = 1_000
"""Pages of records that one pass searches for orphans: a million records."""


class Pace(Struct, frozen=True):
    """The duration of one part of a pass, and the rest after each portion as a multiple of the portion's duration.

    The rests leave processor time to bookings.
    """

    seconds: float = math.inf
    rest: float = 0.0


AT_ONE_GO = Pace()
"""A whole pass, and no rests."""


class Reading(Struct, frozen=True):
    """The differences of one event in one reading, the counters that a repair must find unchanged, and Redis' clock.

    `until_ms` is that clock after everything was read.
    """

    counters: CounterBooks
    differences: list[Difference]
    until_ms: int


NOTHING_READ = Reading(CounterBooks(None, {}, 0, [], 0), [], 0)
"""The reading for repairs that do not depend on counters."""


class ConfirmedDifference(Struct, frozen=True):
    """A difference that two readings agreed on, and whether it was repaired."""

    difference: Difference
    repaired: bool


async def reconcile(stores: Stores, event_id: UUID | None = None, *, fix: bool = True) -> list[ConfirmedDifference]:
    """Compare the counters and bookings of every event, or of one, and repair the differences.

    Safe during traffic and beside another pass: bookings in flight are not taken for differences, and each repair is
    made once.

    Raises:
        EventNotFound, Unavailable: the repairs made until then stay.
    """
    if event_id is not None:
        return await reconcile_page(stores, [event_id], fix=fix)
    relisted, _ = await relist_some(stores, 0, pace=AT_ONE_GO, fix=fix)
    return relisted + await reconcile_some(stores, None, pace=AT_ONE_GO, going_to=_nowhere, fix=fix)


async def reconcile_some(
    stores: Stores,
    after: UUID | None,
    *,
    pace: Pace,
    going_to: Callable[[UUID | None], Awaitable[None]],
    fix: bool = True,
) -> list[ConfirmedDifference]:
    """Do a part of a pass: the events after `after`, or from the first one with None, until the time is up.

    `going_to` is called with the last event of a portion before that portion is read, so that a portion which takes too
    long is not tried again for ever. It is called with None when the pass is complete.

    Raises:
        Unavailable: the repairs made until then stay.
    """
    end_s = time.monotonic() + pace.seconds
    outcomes: list[ConfirmedDifference] = []
    began_s = time.monotonic()
    while portion := await _portion_after(stores, after):
        after = portion[-1]
        await going_to(after)
        outcomes += await reconcile_page(stores, portion, fix=fix)
        if time.monotonic() >= end_s:
            return outcomes
        await asyncio.sleep(pace.rest * (time.monotonic() - began_s))
        began_s = time.monotonic()
    await going_to(None)
    return outcomes


async def _portion_after(stores: Stores, after: UUID | None) -> list[UUID]:
    """The next events to compare: one page, or fewer events if they have sold many tickets."""
    page = [event.id for event in await stores.events.after(after, limit=EVENTS_PER_PAGE)]
    taken = await stores.ledger.units_taken(page)
    return next(portions(page, taken, units_max=UNITS_PER_PAGE), [])


async def _nowhere(_: UUID | None) -> None:
    """Ignores the position: a pass that runs in one go does not store it."""


async def reconcile_page(stores: Stores, event_ids: Sequence[UUID], *, fix: bool) -> list[ConfirmedDifference]:
    """Compare these events, and repair the differences that two readings agree on; with `fix` off, only return them.

    Nothing is repaired when Redis' clock was set meanwhile: the times of changes then do not show which changes a
    counter contains.
    """
    began = await stores.inventory.moment()
    first = await _read(stores, event_ids)
    suspects = [event_id for event_id, reading in first.items() if reading.differences]
    if not suspects:
        return []
    await asyncio.sleep(SECOND_READING_S)
    outcomes: list[ConfirmedDifference] = []
    again = await _read(stores, suspects)
    if step := step_ms(began, await stores.inventory.moment()):
        log.warning("redis_clock_stepped", by_ms=step)
        return []
    for event_id, second in again.items():
        agreed = confirmed(first[event_id].differences, second.differences)
        agreed = [each for each in agreed if each.fault is not Fault.UNINSTALLED or await _is_lost(stores, event_id)]
        outcomes += await _repair_event(stores, agreed, second, fix=fix)
    return outcomes


async def _is_lost(stores: Stores, event_id: UUID) -> bool:
    """Whether an event has no terms in Redis although the rebuild of this epoch is complete."""
    return await in_order(stores) and bool(await stores.inventory.uninstalled([event_id]))


async def _read(stores: Stores, event_ids: Sequence[UUID]) -> dict[UUID, Reading]:
    """Read the counters, then the unpersisted bookings, then PostgreSQL.

    A booking that moves meanwhile is found by the later reading.
    """
    counters = dict(zip(event_ids, await asyncio.gather(*map(stores.books.counters, event_ids)), strict=True))
    unpersisted = await _unpersisted(stores, {partition_of_event(event_id) for event_id in event_ids})
    since_ms = min(page.at_ms for books in counters.values() for page in books.pages)
    stored = await stores.books.stored(
        event_ids, since_ms=since_ms, unpersisted=[booking.id for booking in unpersisted]
    )
    until_ms = await stores.inventory.now_ms()
    return {
        event_id: Reading(
            counters[event_id],
            differences(counters[event_id], unpersisted, stored[event_id], until_ms=until_ms),
            until_ms,
        )
        for event_id in event_ids
        if event_id in stored
    }


async def _unpersisted(stores: Stores, partitions: set[int]) -> list[Booking]:
    bookings: list[Booking] = []
    for partition in sorted(partitions):
        bookings += await stores.unpersisted.bookings(partition, limit=UNPERSISTED_MAX)
    return bookings


async def _repair_event(
    stores: Stores, agreed: Sequence[Difference], read: Reading, *, fix: bool
) -> list[ConfirmedDifference]:
    outcomes, mends = [], read.counters.mends
    for difference in agreed:
        log.error(
            "drift",
            event_id=str(difference.event_id),
            fault=difference.fault,
            subject=difference.subject,
            found=difference.found,
            expected=difference.expected,
            repair=difference.repair if fix else None,
        )
        repaired = fix and await _repair(stores, difference, mends=mends, read_ms=read.until_ms)
        mends += repaired and difference.repair is Repair.MEND_COUNTER
        if fix:
            await _record(stores, difference, done=repaired)
        outcomes.append(ConfirmedDifference(difference, repaired))
    return outcomes


async def _repair(stores: Stores, difference: Difference, *, mends: int, read_ms: int) -> bool:
    """Repair a difference; False when it was repaired by another pass or cannot be repaired."""
    match difference.repair:
        case Repair.MEND_COUNTER:
            return await stores.books.mend(difference, mends=mends, read_ms=read_ms)
        case Repair.REINSTALL_TERMS:
            return await _renew_terms(stores, difference.event_id)
        case Repair.RECOUNT_ROW:
            return await stores.books.recount_row(difference.event_id, difference.subject)
        case Repair.RELIST:
            return await stores.books.relist(UUID(difference.subject))
        case Repair.REBUILD:
            await rebuild(stores)
            return True


async def _renew_terms(stores: Stores, event_id: UUID) -> bool:
    """Give the terms a new token, so that no process uses its cached terms of the old token."""
    try:
        await stores.catalog.renew_terms(event_id)
    except CapacityBelowSold as refusal:
        log.exception("capacity_below_sold", event_id=str(event_id), **refusal.facts)
        return False
    return True


async def relist_some(
    stores: Stores, cursor: int, *, pace: Pace, fix: bool = True
) -> tuple[list[ConfirmedDifference], int]:
    """Search records for those that no worker would persist, from `cursor` until the time is up.

    Returns:
        The differences found, and the next cursor; 0 when all records were searched.

    Raises:
        Unavailable: the records listed until then stay listed.
    """
    end_s = time.monotonic() + pace.seconds
    outcomes: list[ConfirmedDifference] = []
    for _ in range(SCANS_MAX):
        began_s = time.monotonic()
        page = await stores.books.orphans(cursor)
        outcomes += await _relist(stores, page.orphans, fix=fix)
        if fix:
            await asyncio.gather(*(stores.books.relist(booking_id) for booking_id in page.outdated))
        cursor = page.cursor
        if cursor == 0 or time.monotonic() >= end_s:
            break
        await asyncio.sleep(pace.rest * (time.monotonic() - began_s))
    return outcomes, cursor


async def _relist(stores: Stores, orphans: Sequence[UUID], *, fix: bool) -> list[ConfirmedDifference]:
    """List orphans as unpersisted. A record that is being reserved or settled looks like one only for a moment."""
    outcomes: list[ConfirmedDifference] = []
    for booking_id in orphans:
        record = await stores.inventory.record(booking_id)
        if record is None:
            continue
        difference = Difference(record.event_id, Fault.ORPHAN_RECORD, str(booking_id), record.quantity, 0)
        outcomes += await _repair_event(stores, [difference], NOTHING_READ, fix=fix)
    return outcomes


async def _record(stores: Stores, difference: Difference, *, done: bool) -> None:
    await stores.books.record(difference, at=from_ms(await stores.inventory.now_ms()), done=done)
