"""Reads of the servers past the engine: counters and records in Redis, rows in PostgreSQL."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from domain.kernel.counters import POOL_MAIN
from domain.kernel.partitions import partition_of_event
from domain.store.redis.keys import mine_key, record_key, unpersisted_key
from ops.evidence.books import claims_of, read_counters, read_snapshot, read_unpersisted

if TYPE_CHECKING:
    from collections.abc import Collection

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event
    from ops.evidence.books import Snapshot


async def counters(stores: Stores, event: Event) -> dict[str, int]:
    """How much is taken of each counter of an event, those that were given back left out."""
    return await counters_of(stores, event.id)


async def taken(stores: Stores, event: Event) -> int:
    """How many tickets of an event are taken."""
    return (await counters(stores, event)).get(POOL_MAIN, 0)


async def unlist(stores: Stores, booking: Booking) -> None:
    """Make an orphan of a booking: its record lives on, and nobody would persist it."""
    partition = partition_of_event(booking.event_id)
    await stores.pipeline.redis.zrem(unpersisted_key(partition), str(booking.id))
    await stores.pipeline.redis.srem(mine_key(partition, booking.user_id), str(booking.id))


async def record(stores: Stores, booking: Booking) -> dict[str, str] | None:
    """A booking's record in Redis, of whatever epoch."""
    fields = await stores.pipeline.redis.hgetall(record_key(booking.id))
    return {name.decode(): value.decode() for name, value in fields.items()} or None


async def unpersisted(stores: Stores) -> frozenset[UUID]:
    """The bookings that PostgreSQL has not heard the last of."""
    return await read_unpersisted(stores.pipeline.redis)


async def records_of(stores: Stores, booking_ids: Collection[UUID]) -> dict[UUID, tuple[str, int, dict[str, int]]]:
    """Status, version and claims of those of the bookings that have a record of this epoch."""
    pipeline = stores.pipeline.redis.pipeline(transaction=False)
    for booking_id in booking_ids:
        pipeline.hmget(record_key(booking_id), "epoch", "status", "version", "claims", "user")
    answers = zip(booking_ids, await pipeline.execute(), strict=True)
    epoch = str(stores.scripts.epoch).encode()
    return {
        each: (status.decode(), int(version), claims_of(claims.decode(), UUID(user.decode())))
        for each, (found, status, version, claims, user) in answers
        if found == epoch
    }


async def row(stores: Stores, booking: Booking) -> dict[str, object] | None:
    """A booking's row in PostgreSQL."""
    async with stores.database.connect() as connection:
        found = (
            await connection.execute(text("SELECT * FROM bookings WHERE id = :id"), {"id": booking.id})
        ).one_or_none()
    return None if found is None else dict(found._mapping)


async def rows(stores: Stores, event: Event | None = None) -> Counter[str]:
    """How many bookings of each status PostgreSQL has, of one event or in all."""
    where, values = ("WHERE event_id = :id", {"id": event.id}) if event else ("", {})
    statement = text(f"SELECT status, count(*) AS number FROM bookings {where} GROUP BY status")
    async with stores.database.connect() as connection:
        return Counter(dict((await connection.execute(statement, values)).all()))


async def pool(stores: Stores, event: Event) -> tuple[int, int]:
    """What PostgreSQL's own count of an event's tickets says: (size, taken)."""
    async with stores.database.connect() as connection:
        found = await connection.execute(
            text("SELECT size, taken FROM counters WHERE event_id = :id"), {"id": event.id}
        )
        size, tickets = found.one()
        return int(size), int(tickets)


async def retire(stores: Stores, booking: Booking) -> None:
    """Let a settled record's lifetime be over now."""
    redis = stores.pipeline.redis
    assert await redis.pttl(record_key(booking.id)) > 0, "only a settled record retires"
    await redis.delete(record_key(booking.id))


async def differences(stores: Stores) -> list[str]:
    """What the independent checker finds; empty when the books are balanced."""
    return (await snapshot(stores)).differences()


async def snapshot(stores: Stores) -> Snapshot:
    """What Redis and PostgreSQL hold of all events."""
    async with stores.database.connect() as connection:
        postgres = (await connection.get_raw_connection()).driver_connection
        return await read_snapshot(stores.pipeline.redis, postgres)


async def counters_of(stores: Stores, event_id: UUID) -> dict[str, int]:
    """`counters` of the event with this id."""
    return await read_counters(stores.pipeline.redis, event_id)
