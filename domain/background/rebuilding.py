"""Rebuilding: a new epoch of the inventory, with counters made from PostgreSQL.

A rebuild is needed whenever Redis may have lost writes: after it restarted, failed over, was wiped or was restored from
older data. Nothing is sold until PostgreSQL has all accepted bookings and no event has terms in Redis any more. From
then on, each event sells as soon as its counters are refilled, those on sale first.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import structlog
from msgspec import Struct, msgpack

from domain.background.passes import Pass, run
from domain.background.persisting import BATCH_MAX, settlements, write, write_off
from domain.background.portions import portions
from domain.kernel.bookings import HOLDING, as_of
from domain.kernel.claims import gates_text
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import Unavailable
from domain.kernel.unpersisted import Settlement, Unpersisted
from domain.platform.concurrency import together
from domain.platform.failpoints import Failpoint, reach
from domain.store.postgres.epochs import EpochOver
from domain.store.postgres.events.reads import RefillTurn
from domain.store.postgres.holdings import refill_fields
from domain.store.postgres.ledger import SOLD_OUT, LedgerRefused
from domain.store.postgres.write_ahead import Lost
from domain.store.redis.keys import counters_key, due_key, dues_key, epoch_key, record_prefix
from domain.store.redis.rebuild_progress import Progress, write_progress
from domain.store.redis.records import hold_fields
from domain.store.redis.scripts import SETTLED, InventoryState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.kernel.unpersisted import Written
    from domain.sales.events import Event
    from domain.store.postgres.holdings import Fields, Holdings
    from domain.store.redis.connection import Link
    from domain.store.redis.fence import FencingToken

log = structlog.get_logger()

EVENTS_PER_PAGE = 1_000
"""Events that are refilled before the next ones are read from PostgreSQL: some ten portions on a full box office."""

EVENTS_WITHDRAWN_PER_PAGE = 5_000
"""Events whose terms are withdrawn by one script call for each partition: 300 in each, well under a millisecond."""

COUNTERS_PER_CHUNK = 1_000
"""Counters that one script call writes in 1 ms. Twice as many arguments are within Lua's limit for `unpack`."""

UNITS_PER_PORTION = 20_000
"""Units taken of the events whose counters one statement sums up, unless a single event has more. It takes 40 ms of
PostgreSQL's time, and as long in Redis; until then none of these events sells."""

HOLDS_PER_CALL = 200
"""Records of holds that one script call writes."""

PORTIONS_MAX = 2
"""Portions processed at the same time: while Redis writes one, PostgreSQL sums up the next."""

DRAIN_ROUNDS_MAX = 10_000

DRAINED_AT_ONCE_MAX = 2
"""Batches of intents that are written at the same time: while one waits for its commit, another is written."""

INTENTS_PER_READ = 10 * BATCH_MAX
"""Intents read at once. Each read compares all intents with the bookings."""

DRAIN_SCRIPTS = ("take_lease", "settle_bookings")
"""The scripts loaded at the beginning of an epoch, so that other workers can persist during the rebuild."""

LEASE_S = 1.0
"""The duration of the lease of a rebuild; after this time without renewal, another worker may take it."""


WATCH_S = 1.0
"""The interval at which a process that does not rebuild checks whether the epoch is over."""

ENSURED_S_MAX = 20.0
"""A worker rebuilds an inventory of thousands of events in one or two seconds."""


class Rebuilt(Struct, frozen=True):
    """The result of a rebuild: the accepted bookings that it persisted, and the events that it refilled."""

    epoch: int
    drained: int
    events: int


async def in_order(stores: Stores) -> bool:
    """Whether Redis sells all events in PostgreSQL's epoch. `Scripts.look` describes what it does to achieve that."""
    return await stores.scripts.look() is InventoryState.IN_ORDER


async def keep_watch(stores: Stores) -> None:
    """Check the inventory until cancelled, in a process that does not rebuild it.

    So a process learns of the next epoch even if its connection leads to an old primary or it gets no requests. The
    scripts of its version are also loaded before its first request.
    """
    await run(Pass("watch", WATCH_S, stores.scripts.look))


async def rebuild_if_needed_once(stores: Stores) -> Rebuilt | None:
    """Rebuild if needed, or go on with a rebuild whose process died while it refilled.

    None if the inventory is in order, has a later layout, or is being rebuilt by another worker.

    Raises:
        Unavailable: PostgreSQL or Redis cannot be asked.
        EpochOver: another rebuild has replaced this one.
    """
    if await stores.scripts.look() in SETTLED:
        return None
    holder = uuid4()
    if not await stores.epochs.take_rebuild_lease(holder, seconds=LEASE_S):
        return None
    renewing = asyncio.create_task(_renew_lease(stores, holder))
    try:
        return await _rebuild_as_needed(stores)
    finally:
        renewing.cancel()
        await stores.epochs.leave_rebuild_lease(holder)


async def _rebuild_as_needed(stores: Stores) -> Rebuilt | None:
    match await stores.scripts.look():
        case InventoryState.REFILLING:
            return await go_on(stores)
        case state:
            return None if state in SETTLED else await rebuild(stores)


async def ensure_in_order(stores: Stores) -> None:
    """Rebuild if needed, or wait for another worker's rebuild, for commands that may run without any worker.

    Raises:
        TimeoutError: it takes too long.
    """
    async with asyncio.timeout(ENSURED_S_MAX):
        while await rebuild_if_needed_once(stores) is None and not await in_order(stores):  # noqa: ASYNC110
            await asyncio.sleep(LEASE_S / 10)


async def _renew_lease(stores: Stores, holder: UUID) -> None:
    """Renew the lease while this process runs. A process that is frozen does not renew, and loses the lease."""
    with suppress(Unavailable):
        while await stores.epochs.take_rebuild_lease(holder, seconds=LEASE_S):  # noqa: ASYNC110  (no event to wait for)
            await asyncio.sleep(LEASE_S / 3)


async def rebuild(stores: Stores) -> Rebuilt:
    """Begin an epoch: fence the older ones, persist their accepted bookings, withdraw all terms, sell, refill.

    It may be killed at any point, and another rebuild may replace it: only the rebuild of the latest epoch can change
    anything. Scripts are loaded when no event has terms: such an event sells nothing and returns nothing, so PostgreSQL
    has all of its bookings until it is refilled.

    All of it happens on one connection, or it fails. A server that restarts meanwhile may have lost counters. A server
    that is promoted meanwhile runs no script that is bound to the server before it.

    Raises:
        EpochOver: another rebuild has replaced this one, the server has changed, or the layout is a later one.
        Unavailable: a server cannot be reached any more.
    """
    link, server = await stores.pipeline.primary()
    token = await stores.epochs.begin(above=await _highest_seen(stores), server=server.id)
    log.info("rebuild_started", epoch=token.epoch)
    reach(Failpoint.REBUILD_BEGUN)
    beginnings = [[epoch_key(partition), dues_key(partition)] for partition in range(PARTITIONS)]
    await _run_all(stores, "begin_epoch", token, beginnings)
    stores.scripts.begin(token)
    await stores.scripts.load(token, DRAIN_SCRIPTS, link=link)
    drained = await _drain_all(stores, token.epoch)
    await _withdraw_all(stores, token)
    reach(Failpoint.REBUILD_UNPUBLISHED)
    await stores.scripts.publish(token, link=link)
    log.info("sales_resumed", epoch=token.epoch, drained=drained)
    return Rebuilt(token.epoch, drained, await _refill_all(stores, token, link))


async def go_on(stores: Stores) -> Rebuilt | None:
    """Refill the events that an interrupted rebuild has left, in its epoch; None if nothing was published in it.

    Raises:
        EpochOver, Unavailable: as `rebuild`.
    """
    token = stores.scripts.token
    link = await stores.scripts.published(token)
    if link is None:
        return None
    log.info("rebuild_goes_on", epoch=token.epoch)
    return Rebuilt(token.epoch, 0, await _refill_all(stores, token, link))


async def _highest_seen(stores: Stores) -> int:
    """The highest epoch in Redis. It is above PostgreSQL's when PostgreSQL was restored from a backup."""
    keys = map(epoch_key, range(PARTITIONS))
    seen = await together(lambda key: stores.pipeline.call("GET", key), keys, at_once_max=PARTITIONS)
    return max((int(epoch) for epoch in seen if epoch), default=0)


async def _run_all(stores: Stores, name: str, token: FencingToken, keys: Iterable[list[str]]) -> None:
    """Run a script of a rebuild in every partition; raises EpochOver if one of them refuses."""
    ran = await together(lambda some: stores.scripts.run_text(name, token, some, []), keys, at_once_max=PARTITIONS)
    if not all(ran):
        raise EpochOver


async def _drain_all(stores: Stores, epoch: int) -> int:
    """Persist everything of earlier epochs. Of two bookings with one key, the one in the lower partition is kept."""
    pages = await together(
        lambda partition: stores.unpersisted.read(partition, limit=BATCH_MAX),
        range(PARTITIONS),
        at_once_max=PARTITIONS,
    )
    drained = 0
    for group in _groups(pages):
        drained += await _drain_group(stores, group, epoch)
    return drained + await _drain_intents(stores, epoch)


def _groups(pages: Sequence[list[Unpersisted]]) -> Iterator[dict[int, list[Unpersisted]]]:
    """The pages by their partitions, in order, in groups that one batch can write. A full page is a group by itself."""
    group: dict[int, list[Unpersisted]] = {}
    for partition, page in enumerate(pages):
        if group and page and sum(map(len, group.values())) + len(page) > BATCH_MAX:
            yield group
            group = {}
        if page:
            group[partition] = page
    if group:
        yield group


async def _drain_group(stores: Stores, group: dict[int, list[Unpersisted]], epoch: int) -> int:
    """Persist the pages of some partitions at once: most rebuilds find a few bookings in each.

    If PostgreSQL refuses one of the bookings, or if more are left, each partition is drained by itself.
    """
    batch = [entry for page in group.values() for entry in page if entry.recorded]
    try:
        written = await stores.ledger.persist(batch, epoch=epoch) if batch else {}
    except LedgerRefused:
        return sum([await _drain(stores, partition, epoch) for partition in group])
    left = await together(
        lambda partition: stores.unpersisted.settle(partition, settlements(group[partition], written)),
        group,
        at_once_max=PARTITIONS,
    )
    more = [partition for partition, number in zip(group, left, strict=True) if number]
    return len(written) + sum([await _drain(stores, partition, epoch) for partition in more])


async def _drain(stores: Stores, partition: int, epoch: int) -> int:
    """Persist the bookings of earlier epochs that Redis still has; those that PostgreSQL refuses become rejected.

    A booking for which PostgreSQL has no units left is written again after all others: a return among those may be what
    it took.
    """
    drained, put_off = 0, list[Unpersisted]()
    settled: list[Settlement] = []
    for _ in range(DRAIN_ROUNDS_MAX):
        turn = await stores.unpersisted.turn(partition, settled, skip=len(put_off), limit=BATCH_MAX)
        if not turn.page:
            break
        written, refused = await write(stores, [entry for entry in turn.page if entry.recorded], epoch=epoch)
        short = [entry for entry, reason in refused if reason == SOLD_OUT and entry.status in HOLDING]
        written |= await write_off(stores, [each for each in refused if each[0] not in short], epoch=epoch)
        put_off += short
        settled = settlements(turn.page, written)
        drained += len(written)
    for first in range(0, len(put_off), BATCH_MAX):
        batch = put_off[first : first + BATCH_MAX]
        written = await _write_all(stores, batch, epoch)
        await stores.unpersisted.settle(partition, settlements(batch, written))
        drained += len(written)
    return drained


async def _drain_intents(stores: Stores, epoch: int) -> int:
    """Persist the bookings that were acknowledged with `DURABILITY=postgres` and lost by Redis.

    Returns are persisted before anything that takes: what a booking took may have come back only shortly before. So
    holds whose deadline has passed expire first, too; only Redis knew that they had.
    """
    now_ms = await stores.inventory.now_ms()
    readings = (
        lambda: stores.intents.lost(Lost.RETURNED, now_ms=now_ms, limit=INTENTS_PER_READ),
        lambda: stores.ledger.due(now_ms=now_ms, limit=INTENTS_PER_READ),
        lambda: stores.intents.lost(Lost.KEPT, now_ms=now_ms, limit=INTENTS_PER_READ),
        lambda: stores.intents.lost(Lost.TAKEN, now_ms=now_ms, limit=INTENTS_PER_READ),
    )
    drained = sum([await _drain_lost(stores, epoch, read, now_ms=now_ms) for read in readings])
    await stores.intents.forget_kept()
    return drained


async def _drain_lost(stores: Stores, epoch: int, read: Callable[[], Awaitable[list[Booking]]], *, now_ms: int) -> int:
    drained, before = 0, None
    for _ in range(DRAIN_ROUNDS_MAX):
        lost = await read()
        if not lost or lost == before:
            break
        # In order of events, so that a batch changes few counters, and two batches do not wait for each other.
        told = (as_of(booking, now_ms) for booking in lost)
        entries = sorted((Unpersisted.of(booking, epoch=epoch) for booking in told), key=lambda entry: entry.event_id)
        batches = [entries[first : first + BATCH_MAX] for first in range(0, len(entries), BATCH_MAX)]
        written = await together(
            lambda batch: _write_all(stores, batch, epoch), batches, at_once_max=DRAINED_AT_ONCE_MAX
        )
        drained, before = drained + sum(map(len, written)), lost
    return drained


async def _write_all(stores: Stores, batch: Sequence[Unpersisted], epoch: int) -> dict[str, Written]:
    """Persist a batch of an earlier epoch; bookings that PostgreSQL refuses are recorded as rejected."""
    written, refused = await write(stores, batch, epoch=epoch)
    return written | await write_off(stores, refused, epoch=epoch)


async def _withdraw_all(stores: Stores, token: FencingToken) -> None:
    """Withdraw the terms of every event, so that nothing is sold by counters of an earlier epoch."""
    last = None
    while page := await stores.events.with_counters(after=last, limit=EVENTS_WITHDRAWN_PER_PAGE):
        last = page[-1]
        keys: dict[int, list[str]] = {}
        for event_id in page:
            partition = partition_of_event(event_id)
            keys.setdefault(partition, [epoch_key(partition)]).append(counters_key(event_id))
        await _run_all(stores, "withdraw_terms", token, keys.values())


async def _refill_all(stores: Stores, token: FencingToken, link: Link) -> int:
    """Refill every event that has no terms in Redis, in the order of their turns; returns how many.

    The last turn has all events: nothing is left out, whatever was changed since the turns before.
    """
    filled, of = 0, await stores.events.number()
    for turn in RefillTurn:
        last = None
        while page := await stores.events.to_refill(turn, after=last, limit=EVENTS_PER_PAGE):
            last, known = page[-1].id, {event.id: event for event in page}
            left = await stores.inventory.uninstalled(list(known))
            await _refill_page(stores, {event_id: known[event_id] for event_id in left}, token)
            filled += len(left)
            await write_progress(stores.pipeline, Progress(token.epoch, filled, of))
            if left:
                log.info("rebuild_progress", epoch=token.epoch, turn=turn.value, events=filled, of=of)
    await stores.scripts.complete(token, link=link)
    log.info("rebuild_finished", epoch=token.epoch, events=filled)
    return filled


async def _refill_page(stores: Stores, page: dict[UUID, Event], token: FencingToken) -> None:
    """Refill these events, in portions: while Redis writes one, PostgreSQL sums up the next."""

    async def refill(event_ids: list[UUID]) -> None:
        holdings = await stores.ledger.holdings(event_ids, counters_max=COUNTERS_PER_CHUNK)
        holds = await stores.ledger.holds(event_ids)
        reach(Failpoint.REBUILD_REFILLING)
        await together(
            lambda event_id: _refill(
                stores, page[event_id], holdings.get(event_id, []), holds.get(event_id, []), token
            ),
            event_ids,
            at_once_max=EVENTS_PER_PAGE,
        )

    taken = await stores.ledger.units_taken(list(page))
    await together(refill, portions(list(page), taken, units_max=UNITS_PER_PORTION), at_once_max=PORTIONS_MAX)


async def _refill(stores: Stores, event: Event, held: Holdings, holds: Sequence[Booking], token: FencingToken) -> None:
    """Refill one event's counters and holds. The terms come last: without them nothing of the event changes."""
    attempt, partition = uuid4().hex, partition_of_event(event.id)
    keys = [epoch_key(partition), counters_key(event.id)]

    async def run(name: str, keys: list[str], args: list[Any]) -> None:
        if not await stores.scripts.run_text(name, token, keys, [attempt, *args]):
            raise EpochOver

    async def fill(part: str, fields: Fields) -> None:
        await run("refill_counters", [*keys, due_key(event.id)], [part, *fields])

    first, *more = refill_fields(held, event.sizes, gates=gates_text(event.gates))
    last = more.pop() if more else []
    if not last and not holds:
        await fill("first", [*first, "terms", event.terms_token])
        return
    await fill("first", first)
    for chunk in more:
        await fill("more", chunk)
    for page in (holds[start : start + HOLDS_PER_CALL] for start in range(0, len(holds), HOLDS_PER_CALL)):
        fields = msgpack.encode([hold_fields(hold) for hold in page])
        await run("refill_holds", keys, [record_prefix(partition), fields])
    await fill("more", [*last, "terms", event.terms_token])
