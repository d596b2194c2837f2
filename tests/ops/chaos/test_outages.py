"""Workers survive outages of their servers."""

from __future__ import annotations

import asyncio
import signal
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
from pydantic import SecretStr
from sqlalchemy import make_url

from domain.background.persisting import LEASE_MS, OVERDUE_MS, persist
from domain.background.rebuilding import in_order
from domain.engine import open_stores
from domain.kernel.partitions import partition_of_event
from ops.chaos.stack.proxy import Proxy
from tests.factories import book, make_event
from tests.waiting import eventually
from worker.passes import SWEEP_INTERVAL_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from domain.engine import Stores
    from domain.platform.settings import Settings
    from domain.store.redis.fence import FencingToken
    from ops.embedded.valkey import EmbeddedValkey
    from tests.processes import Processes

AWAY_SECONDS = 1.0
"""Longer than a worker needs to notice."""

AT_ONCE_SECONDS = 3.0
"""Enough on a busy machine. A lock that is held by a stopped process stays longer."""


async def test_a_worker_outlives_a_redis_that_comes_back(
    stores: Stores, processes: Processes, valkey: EmbeddedValkey
) -> None:
    event = await make_event(stores)
    worker = processes.worker()

    valkey.kill()
    await asyncio.sleep(AWAY_SECONDS)
    valkey.start()

    await eventually(lambda: in_order(stores))
    booking = await book(stores, event)
    await eventually(lambda: stores.ledger.find(booking.id))
    assert worker.stop() == 0


async def test_a_worker_is_told_to_end_while_redis_is_away(
    stores: Stores, processes: Processes, valkey: EmbeddedValkey
) -> None:
    worker = processes.worker()
    assert await in_order(stores)

    valkey.kill()
    await asyncio.sleep(AWAY_SECONDS)

    assert worker.stop() in {0, -signal.SIGTERM}


async def test_a_worker_outlives_a_redis_that_has_no_memory_left(stores: Stores, processes: Processes) -> None:
    worker = processes.worker()
    worker.signal(signal.SIGSTOP)
    booking = await book(stores, await make_event(stores))

    await stores.pipeline.redis.config_set("maxmemory", 1)
    try:
        worker.signal(signal.SIGCONT)
        await asyncio.sleep(AWAY_SECONDS)
    finally:
        await stores.pipeline.redis.config_set("maxmemory", 0)

    await eventually(lambda: stores.ledger.find(booking.id))
    assert worker.stop() == 0


async def begin_epoch(stores: Stores) -> FencingToken:
    _, server = await stores.pipeline.primary()
    return await stores.epochs.begin(above=0, server=server.id)


async def test_a_process_that_freezes_while_it_begins_an_epoch_keeps_nobody_from_it(
    stores: Stores, settings: Settings, tmp_path: Path
) -> None:
    async with frozen(settings, tmp_path, "inventory_epoch", begin_epoch):
        token = await asyncio.wait_for(begin_epoch(stores), AT_ONCE_SECONDS)

    assert token.epoch > 1


async def test_a_process_that_freezes_while_it_leases_the_rebuild_keeps_nobody_from_it(
    stores: Stores, settings: Settings, tmp_path: Path
) -> None:
    await take_lease(stores)
    async with frozen(settings, tmp_path, "rebuild_lease", take_lease):
        taken = await asyncio.wait_for(take_lease(stores), AT_ONCE_SECONDS)

    assert taken


def take_lease(stores: Stores) -> Awaitable[bool]:
    return stores.epochs.take_rebuild_lease(uuid4(), seconds=0)


@asynccontextmanager
async def frozen(
    settings: Settings, folder: Path, table: str, work: Callable[[Stores], Awaitable[object]]
) -> AsyncIterator[None]:
    """A process that has sent a statement to `table` and gets no answer."""
    url = make_url(settings.database_url.get_secret_value())
    link = Proxy(folder / ".s.PGSQL.5432", Path(url.query["host"]) / ".s.PGSQL.5432")
    await link.open()
    through = SecretStr(url.set(query={"host": str(folder)}).render_as_string())
    async with open_stores(settings.model_copy(update={"database_url": through})) as other:
        holder = await asyncpg.connect(url.render_as_string())
        async with holder.transaction():
            await holder.execute(f"SELECT FROM {table} FOR UPDATE")
            working = asyncio.create_task(work(other))
            await eventually(lambda: holder.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
            link.silence()
        await holder.close()
        yield
        await link.close()
        await asyncio.gather(working, return_exceptions=True)


async def test_a_batch_that_takes_longer_than_the_lease_keeps_it(stores: Stores, settings: Settings) -> None:
    event = await make_event(stores)
    await book(stores, event)
    partition = partition_of_event(event.id)
    holder = await asyncpg.connect(settings.database_url.get_secret_value())
    async with holder.transaction():
        await holder.execute("SELECT FROM counters WHERE event_id = $1 FOR UPDATE", event.id)
        persisting = asyncio.create_task(persist(stores, partition))
        await asyncio.sleep(3 * LEASE_MS / 1000)

        assert not await stores.unpersisted.take_lease(partition, holder="another", lease_ms=LEASE_MS)

    await holder.close()
    assert await persisting == 1
    assert await stores.unpersisted.take_lease(partition, holder="another", lease_ms=LEASE_MS)


def test_a_worker_that_died_delays_a_booking_by_less_than_a_second() -> None:
    longest_ms = LEASE_MS + OVERDUE_MS + 2 * SWEEP_INTERVAL_S * 1000

    assert longest_ms <= 1_000
