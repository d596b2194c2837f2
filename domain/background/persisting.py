"""Persisting: writes the unpersisted set of a partition to PostgreSQL until it is empty."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog
from msgspec import Struct, structs

from domain.kernel.bookings import HOLDING, BookingStatus
from domain.kernel.partitions import partition_of_event
from domain.kernel.refusals import Unavailable
from domain.kernel.unpersisted import NO_EPOCH, Settlement, Unpersisted, Written
from domain.platform.failpoints import Failpoint, reach
from domain.store.postgres.ledger import SOLD_OUT, LedgerRefused
from domain.store.redis.inventory import RecordChanged, RecordUnknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from domain.engine import Stores
    from domain.store.redis.unpersisted_sets import Turn

log = structlog.get_logger()

BATCH_MAX = 500
"""Bookings written by one statement.

Rows per second stop growing at about this size on one connection. With a larger batch, one refused booking costs more.
"""

PACE_S = 0.04
"""The time from the start of a batch that is not full to the start of the next one.

A batch costs some milliseconds of processor time at any size, so it pays to collect bookings: at 2,000 per second, they
cost two thirds of what they cost with half the pause. No booking waits longer than this, and a single booking does not
wait at all.
"""

PERSIST_S_MAX = 5.0
"""How long one call runs; after that the caller decides, so that a job stays shorter than its timeout."""

LEASE_MS = 300
"""The duration of the lease of a partition; after this time without renewal, another worker may take it.

Together with the interval and the patience of the sweep, it makes one second: the time after which a booking is
persisted although the worker that had it died.
"""


EXPIRING_ROUNDS_MAX = 100
"""Calls of one sweep of a partition that expire holds."""

RETURNS_READ_MAX = 5_000
"""Unpersisted bookings that are searched for returns when PostgreSQL refuses a booking."""

OVERDUE_MS = 200
"""The age of an unpersisted booking after which its wake-up counts as lost."""


class Persisted(Struct, frozen=True):
    """The result of one batch. `left` is the number of unpersisted bookings in the partition after it."""

    written: int = 0
    rejected: int = 0
    left: int = 0

    @property
    def moved(self) -> int:
        """Bookings that were written or rejected."""
        return self.written + self.rejected


class WrittenBatch(Struct, frozen=True):
    """The result of a batch in PostgreSQL, and the settlements that follow from it."""

    written: int
    rejected: int
    settlements: list[Settlement]

    @property
    def moved(self) -> int:
        """Bookings that were written or rejected."""
        return self.written + self.rejected


async def sweep_once(stores: Stores) -> int:
    """Expire what is due, and persist every partition with an overdue booking; returns the number of bookings written.

    Raises:
        Unavailable, EpochOver: as `persist`; the next call continues.
    """
    written = 0
    for partition, pulse in enumerate(await stores.unpersisted.pulses()):
        expired = await expire(stores, partition) if pulse.due else 0
        # A negative age means that the clock was set back, and that earlier wake-ups may have been lost.
        if expired or not 0 <= pulse.oldest_age_ms <= OVERDUE_MS:
            written += await persist(stores, partition)
    return written


async def expire(stores: Stores, partition: int) -> int:
    """Expire the holds of a partition whose deadline has passed; returns how many.

    Buyers who are short of tickets do the same for their event, so nobody waits for this. Between calls, Redis serves
    others.
    """
    total = 0
    for _ in range(EXPIRING_ROUNDS_MAX):
        expired = await stores.holds.expire(partition)
        if not expired:
            break
        reach(Failpoint.HOLDS_EXPIRED)
        total += expired
    return total


async def persist(stores: Stores, partition: int) -> int:
    """Persist a partition until it is empty, another worker has its lease or time is up; returns the number written.

    It may be killed at any point and run twice: a batch that is not settled is persisted again.

    Raises:
        Unavailable: PostgreSQL or Redis cannot be asked; the set stays as it is.
        EpochOver: the epoch ended meanwhile; the rebuild persists what is left.
    """
    holder, end_s = uuid4().hex, time.monotonic() + PERSIST_S_MAX
    written, moved, left = 0, 1, 1
    while moved and left and await stores.unpersisted.take_lease(partition, holder=holder, lease_ms=LEASE_MS):
        async with _renewed(stores, partition, holder=holder) as renewing:
            moved = await _persist_until_empty(
                stores, partition, goes_on=lambda: not renewing.done() and time.monotonic() < end_s
            )
        written += moved
        await stores.unpersisted.leave_lease(partition, holder=holder)
        if time.monotonic() >= end_s:
            break
        # A worker that was woken just before the lease was given up found the partition taken, and did nothing.
        left = (await stores.unpersisted.pulse(partition)).unpersisted_count
    return written


@asynccontextmanager
async def _renewed(stores: Stores, partition: int, *, holder: str) -> AsyncIterator[asyncio.Task[None]]:
    """Renew a lease during the block. A process that is frozen does not renew, and loses the lease.

    The task ends when another worker has the lease.
    """
    renewing = asyncio.create_task(_renew(stores, partition, holder=holder))
    try:
        yield renewing
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)


async def _renew(stores: Stores, partition: int, *, holder: str) -> None:
    with suppress(Unavailable):
        while True:
            await asyncio.sleep(LEASE_MS / 3000)
            if not await stores.unpersisted.take_lease(partition, holder=holder, lease_ms=LEASE_MS):
                return


async def _persist_until_empty(stores: Stores, partition: int, *, goes_on: Callable[[], bool]) -> int:
    """Persist batches; returns how many bookings were written or rejected. A batch without any is the last."""
    moved = 0
    while goes_on():
        began_s = time.monotonic()
        done = await persist_once(stores, partition)
        moved += done.moved
        if done.left >= BATCH_MAX:
            moved += await _persist_backlog(stores, partition, goes_on=goes_on)
        if not done.moved:
            break
        await asyncio.sleep(began_s + PACE_S - time.monotonic())
    return moved


async def _persist_backlog(stores: Stores, partition: int, *, goes_on: Callable[[], bool]) -> int:
    """While PostgreSQL writes a batch, settle the batch before it and read the next, as long as batches are full.

    The order of these steps does not matter: a settlement applies only to the version that was written, and a booking
    that is read twice is written once.
    """
    moved, settlements = 0, list[Settlement]()
    page = await stores.unpersisted.read(partition, limit=BATCH_MAX)
    while len(page) == BATCH_MAX and goes_on():
        outcome, ahead = await _both(
            _write_page(stores, page), _settle(stores, partition, settlements, skip=len(page), limit=BATCH_MAX)
        )
        moved += outcome.moved
        settlements, page = outcome.settlements, ahead.page if outcome.moved else []
    await _settle(stores, partition, settlements)
    return moved


async def _both(writing: Awaitable[WrittenBatch], turning: Awaitable[Turn]) -> tuple[WrittenBatch, Turn]:
    """Wait for both to end before a failure of either is raised, so that none goes on in the background."""
    outcome, turn = await asyncio.gather(writing, turning, return_exceptions=True)
    if isinstance(outcome, BaseException):
        raise outcome
    if isinstance(turn, BaseException):
        raise turn
    return outcome, turn


async def persist_once(stores: Stores, partition: int) -> Persisted:
    """Persist the oldest batch of a partition."""
    outcome = await _write_page(stores, await stores.unpersisted.read(partition, limit=BATCH_MAX))
    left = (await _settle(stores, partition, outcome.settlements)).left
    return Persisted(outcome.written, outcome.rejected, left)


async def _write_page(stores: Stores, page: Sequence[Unpersisted]) -> WrittenBatch:
    """Write the entries that were read; the bookings that PostgreSQL refuses return their tickets."""
    epoch = stores.scripts.epoch
    written, refused = await write(stores, [entry for entry in page if entry.epoch == epoch], epoch=epoch)
    holding = [(entry, reason) for entry, reason in refused if entry.status in HOLDING]
    empty = [(entry, reason) for entry, reason in refused if entry.status not in HOLDING]
    written |= await write_off(stores, empty, epoch=epoch)
    reach(Failpoint.AFTER_COMMIT)
    rejected = await _without_put_off(stores, holding, written)
    for entry, reason in rejected:
        await reject(stores, entry, reason)
    return WrittenBatch(len(written), len(rejected), settlements(page, written))


async def _without_put_off(
    stores: Stores, refused: Sequence[tuple[Unpersisted, str]], written: dict[str, Written]
) -> list[tuple[Unpersisted, str]]:
    """The refused bookings that must be rejected.

    A booking for which PostgreSQL has no units left is put off while a return of its event is unpersisted: what it took
    may just have come back. It stays in the unpersisted set.
    """
    short = {partition_of_event(UUID(entry.event_id)) for entry, reason in refused if reason == SOLD_OUT}
    returning: set[str] = set()
    for partition in short:
        waiting = await stores.unpersisted.bookings(partition, limit=RETURNS_READ_MAX)
        left = [Unpersisted.of(booking, epoch=NO_EPOCH) for booking in waiting if str(booking.id) not in written]
        returns = await _returns(stores, left)
        returning |= {entry.event_id for entry in left if entry.id in returns}
    put_off = [entry.id for entry, reason in refused if reason == SOLD_OUT and entry.event_id in returning]
    if put_off:
        log.info("bookings_put_off", bookings=len(put_off))
    return [(entry, reason) for entry, reason in refused if entry.id not in put_off]


async def _settle(stores: Stores, partition: int, done: Sequence[Settlement], *, skip: int = 0, limit: int = 0) -> Turn:
    turn = await stores.unpersisted.turn(partition, done, skip=skip, limit=limit)
    reach(Failpoint.AFTER_SETTLE)
    return turn


async def write(
    stores: Stores, batch: Sequence[Unpersisted], *, epoch: int
) -> tuple[dict[str, Written], list[tuple[Unpersisted, str]]]:
    """Write a batch. If PostgreSQL refuses it, the refused bookings are found by halving, and the rest is written."""
    if not batch:
        return {}, []
    try:
        return await stores.ledger.persist(batch, epoch=epoch), []
    except LedgerRefused as refusal:
        if len(batch) == 1:
            return {}, [(batch[0], refusal.reason)]
    # Returned tickets are written first: a booking that took them since must not be refused because the batch was
    # split.
    returns = await _returns(stores, batch)
    ordered = sorted(batch, key=lambda entry: entry.id not in returns)
    middle = len(ordered) // 2
    first, first_refused = await write(stores, ordered[:middle], epoch=epoch)
    second, second_refused = await write(stores, ordered[middle:], epoch=epoch)
    return first | second, first_refused + second_refused


async def _returns(stores: Stores, entries: Sequence[Unpersisted]) -> set[str]:
    """The entries that take nothing in PostgreSQL: they hold no claims, or no more than their row.

    The claims of a booking never grow. So a booking that has them in PostgreSQL can only give some of them back.
    """
    changed = [UUID(entry.id) for entry in entries if entry.status in HOLDING and entry.version > 1]
    stored = await stores.ledger.find_all(changed) if changed else {}
    held = {str(booking.id) for booking in stored.values() if booking.status in HOLDING}
    return held | {entry.id for entry in entries if entry.status not in HOLDING}


async def write_off(stores: Stores, refused: Sequence[tuple[Unpersisted, str]], *, epoch: int) -> dict[str, Written]:
    """Record the refused bookings that hold no claims any more as rejected.

    If PostgreSQL does not know the account or the event, even that cannot be written. Then the booking is logged and
    counts as written, because it would otherwise block its partition for ever.
    """
    rejected = [
        structs.replace(entry, status=BookingStatus.REJECTED, version=entry.version + 1, reason=reason)
        for entry, reason in refused
    ]
    written, unwritable = await write(stores, rejected, epoch=epoch)
    for entry, reason in unwritable:
        log.error("booking_written_off", booking_id=entry.id, event_id=entry.event_id, reason=reason)
        written[entry.id] = Written(entry.id, BookingStatus.REJECTED, entry.version, 0)
    return written


async def reject(stores: Stores, refused: Unpersisted, reason: str) -> None:
    """Return a refused booking's tickets; the rejection is persisted like any other change."""
    log.error("booking_rejected", booking_id=refused.id, event_id=refused.event_id, reason=reason)
    try:
        await stores.inventory.release(
            refused.booking, status=BookingStatus.REJECTED, reason=reason, version=refused.version
        )
    except (RecordChanged, RecordUnknown):
        # The booking was cancelled or persisted by another worker meanwhile, so there is nothing to reject.
        log.info("rejection_overtaken", booking_id=refused.id)


def settlements(page: Sequence[Unpersisted], written: dict[str, Written]) -> list[Settlement]:
    """The entries that may leave the unpersisted set: those written, and those whose record is gone."""
    gone = {entry.id: Written(entry.id, BookingStatus.REJECTED, 0, 0) for entry in page if not entry.recorded}
    known = written | gone
    return [Settlement(entry, known[entry.id]) for entry in page if entry.id in known]
