"""Rebuilding: a new epoch of the inventory, its counters made from PostgreSQL.

Needed whenever Redis may not hold what it was last told: after it restarted, failed over, was wiped or
came back with older data. Until a rebuild is complete nothing is sold.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from msgspec import Struct

from domain.background.passes import repeat
from domain.background.persisting import BATCH_MAX, settlements, write, write_off
from domain.background.portions import portions
from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import Unavailable
from domain.kernel.unpersisted import Unpersisted
from domain.platform.concurrency import together
from domain.platform.failpoints import Failpoint, reach
from domain.store.postgres.ledger import EpochOver, Holdings
from domain.store.redis.keys import counters_key, epoch_key
from domain.store.redis.rebuild_progress import Progress, tell
from domain.store.redis.scripts import Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.engine import Stores
    from domain.kernel.unpersisted import Written
    from domain.sales.events import Event
    from domain.store.redis.fence import FencingToken

log = structlog.get_logger()

EVENTS_PER_PAGE = 200
COUNTERS_PER_CHUNK = 1_000
"""Counters one script call writes: twice as many arguments are below what Lua can unpack, and take a millisecond."""

PLACES_PER_PORTION = 50_000
"""Taken places of the events whose counters one statement adds up, unless one event has more: a tenth of a second
of PostgreSQL's time, a few megabytes here."""

PORTIONS_MAX = 2
"""Portions under way at once: while Redis writes one, PostgreSQL adds up the next."""

DRAIN_ROUNDS_MAX = 10_000

DRAIN_SCRIPTS = ("lease", "settle")
"""What is known to Redis from the beginning of an epoch: other workers persist beside the rebuild."""

LEASE_S = 1.0
"""How long others leave a rebuild to a worker that does not say it is alive."""


WATCH_S = 1.0
"""How soon a process that does not rebuild notices that the epoch is over without being asked for anything."""

ENSURED_S_MAX = 20.0
"""A worker that is rebuilding an inventory of thousands of events is done in a second or two."""


SETTLED = frozenset({Order.IN_ORDER, Order.OUTDATED})
"""What a rebuild by this version would not make better."""


class Rebuilt(Struct, frozen=True):
    """What a rebuild did."""

    epoch: int
    drained: int
    events: int


async def in_order(stores: Stores) -> bool:
    """Whether Redis sells in the epoch that PostgreSQL is in; see `Scripts.look` for what is done for that."""
    return await stores.scripts.look() is Order.IN_ORDER


async def keep_watch(stores: Stores) -> None:
    """Look at the inventory until cancelled, for a process that does not rebuild it.

    So one whose connection leads to an old primary, or that nobody asks anything, learns of the next epoch; and what
    a version of its own texts needs is there before the first request.
    """
    await repeat("watch", stores.scripts.look, every_s=WATCH_S)


async def rebuild_if_needed(stores: Stores) -> Rebuilt | None:
    """Rebuild unless the inventory is in order, of a later layout, or another worker is rebuilding it; None then.

    Raises:
        Unavailable: PostgreSQL or Redis cannot be asked.
        EpochOver: another rebuild overtook this one, and does its work.
    """
    if await stores.scripts.look() in SETTLED:
        return None
    holder = uuid4()
    if not await stores.ledger.take_rebuild_lease(holder, seconds=LEASE_S):
        return None
    renewing = asyncio.create_task(_renew_lease(stores, holder))
    try:
        return None if await stores.scripts.look() in SETTLED else await rebuild(stores)
    finally:
        renewing.cancel()
        await stores.ledger.leave_rebuild_lease(holder)


async def ensure_in_order(stores: Stores) -> None:
    """Rebuild if that is needed, or wait for whoever does: for a command that may be alone with the servers.

    Raises:
        TimeoutError: it takes too long.
    """
    async with asyncio.timeout(ENSURED_S_MAX):
        while await rebuild_if_needed(stores) is None and not await in_order(stores):  # noqa: ASYNC110
            await asyncio.sleep(LEASE_S / 10)


async def _renew_lease(stores: Stores, holder: UUID) -> None:
    """Keep the lease for as long as this process runs: one that is frozen loses it."""
    with suppress(Unavailable):
        while await stores.ledger.take_rebuild_lease(holder, seconds=LEASE_S):  # noqa: ASYNC110  (no event to wait for)
            await asyncio.sleep(LEASE_S / 3)


async def rebuild(stores: Stores) -> Rebuilt:
    """Begin an epoch: fence the older ones, persist what they accepted, refill the counters, sell.

    Safe to be killed anywhere, and to be overtaken: only the latest epoch's rebuild can change anything,
    and scripts are loaded last, so nothing is sold before all counters are right.

    All of it happens on one connection, or it fails: a server that restarts meanwhile may have lost counters, and one
    that is promoted meanwhile runs nothing that is bound to the server which was there before.

    Raises:
        EpochOver: another rebuild overtook this one, the server is another by now, or the layout is a later one.
        Unavailable: a server went away.
    """
    link, server = await stores.pipeline.primary()
    token = await stores.ledger.begin_epoch(above=await _highest_seen(stores), server=server.id)
    log.info("rebuild_started", epoch=token.epoch)
    reach(Failpoint.REBUILD_BEGUN)
    for partition in range(PARTITIONS):
        if not await stores.scripts.run_text("open", token, [epoch_key(partition)], []):
            raise EpochOver
    stores.scripts.begin(token)
    await stores.scripts.load(token, DRAIN_SCRIPTS, link=link)
    drained = 0
    for partition in range(PARTITIONS):
        drained += await _drain(stores, partition, token.epoch)
    drained += await _drain_intents(stores, token.epoch)
    filled = await _refill_all(stores, token)
    reach(Failpoint.REBUILD_UNPUBLISHED)
    await stores.scripts.publish(token, link=link)
    log.info("rebuild_finished", epoch=token.epoch, drained=drained, events=filled)
    return Rebuilt(token.epoch, drained, filled)


async def _highest_seen(stores: Stores) -> int:
    """The highest epoch Redis knows; more than PostgreSQL's when that was restored from a backup."""
    seen = [await stores.pipeline.call("GET", epoch_key(partition)) for partition in range(PARTITIONS)]
    return max((int(epoch) for epoch in seen if epoch), default=0)


async def _drain(stores: Stores, partition: int, epoch: int) -> int:
    """Persist what earlier epochs accepted and Redis still has. What PostgreSQL refuses is recorded as rejected."""
    drained = 0
    for _ in range(DRAIN_ROUNDS_MAX):
        entries = await stores.inventory.unpersisted(partition, limit=BATCH_MAX)
        if not entries:
            return drained
        written = await _write_all(stores, [entry for entry in entries if entry.recorded], epoch)
        await stores.inventory.settle(partition, settlements(entries, written))
        drained += len(written)
    return drained


async def _drain_intents(stores: Stores, epoch: int) -> int:
    """Persist what was acknowledged with `DURABILITY=postgres` and Redis has lost."""
    drained, before = 0, None
    for _ in range(DRAIN_ROUNDS_MAX):
        lost = await stores.intents.lost(limit=BATCH_MAX)
        if not lost or lost == before:
            break
        batch = [Unpersisted.of(booking, epoch=epoch) for booking in lost]
        drained, before = drained + len(await _write_all(stores, batch, epoch)), lost
    await stores.intents.forget_kept()
    return drained


async def _write_all(stores: Stores, batch: Sequence[Unpersisted], epoch: int) -> dict[str, Written]:
    """Persist a batch of an earlier epoch; what PostgreSQL refuses is recorded as rejected."""
    written, refused = await write(stores, batch, epoch=epoch)
    return written | await write_off(stores, refused, epoch=epoch)


async def _refill_all(stores: Stores, token: FencingToken) -> int:
    filled, last = 0, None
    of = await stores.catalog.number()
    await tell(stores.pipeline, Progress(token.epoch, filled, of))
    while page := await stores.catalog.after(last, limit=EVENTS_PER_PAGE):
        last = page[-1].id
        await _refill_page(stores, {event.id: event for event in page}, token)
        filled += len(page)
        log.info("rebuild_progress", epoch=token.epoch, events=filled, of=of)
        await tell(stores.pipeline, Progress(token.epoch, filled, of))
    return filled


async def _refill_page(stores: Stores, page: dict[UUID, Event], token: FencingToken) -> None:
    """Write the counters of these events, some of them while PostgreSQL adds up those of others."""

    async def refill(event_ids: list[UUID]) -> None:
        holdings = await stores.ledger.holdings(event_ids, counters_max=COUNTERS_PER_CHUNK)
        reach(Failpoint.REBUILD_REFILLING)
        await together(
            lambda event_id: _refill(stores, page[event_id], holdings.get(event_id, Holdings()), token),
            event_ids,
            at_once_max=EVENTS_PER_PAGE,
        )

    taken = await stores.ledger.pools_taken(list(page))
    await together(refill, portions(list(page), taken, places_max=PLACES_PER_PORTION), at_once_max=PORTIONS_MAX)


async def _refill(stores: Stores, event: Event, held: Holdings, token: FencingToken) -> None:
    """Write one event's counters, the terms last: without them nothing of it is sold."""
    last: list[Any] = [POOL_MAIN, held.places, f"size:{POOL_MAIN}", event.capacity, "terms", event.terms_token]
    chunks: list[list[Any]] = [*held.chunks[:-1], [*held.chunks[-1], *last]] if held.chunks else [last]
    keys = [epoch_key(partition_of_event(event.id)), counters_key(event.id)]
    for number, chunk in enumerate(chunks):
        part = "first" if number == 0 else "more"
        if not await stores.scripts.run_text("refill", token, keys, [part, *chunk]):
            raise EpochOver
