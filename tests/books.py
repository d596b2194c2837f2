"""What the tests look at, read past the engine: counters and records in Redis, rows in PostgreSQL."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import text

from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.partitions import PARTITIONS, partition_of_booking, partition_of_event
from domain.store.redis.keys import mine_key, unpersisted_key

if TYPE_CHECKING:
    from collections.abc import Collection

    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event

HOLDING = ("pending", "confirmed")

COUNTER_PREFIXES = (b"pool:", b"user:")
"""Other fields beside an event's counters are the terms in force, sizes, and how often counters were mended."""


async def counters(stores: Stores, event: Event) -> dict[str, int]:
    """How much is taken of each counter of an event, those that were given back left out."""
    return await counters_of(stores, event.id)


async def taken(stores: Stores, event: Event) -> int:
    """How many places of an event are taken."""
    return (await counters(stores, event)).get(POOL_MAIN, 0)


async def unlist(stores: Stores, booking: Booking) -> None:
    """Make an orphan of a booking: its record lives on, and nobody would persist it."""
    partition = partition_of_event(booking.event_id)
    await stores.pipeline.redis.zrem(unpersisted_key(partition), str(booking.id))
    await stores.pipeline.redis.srem(mine_key(partition, booking.user_id), str(booking.id))


async def record(stores: Stores, booking: Booking) -> dict[str, str] | None:
    """A booking's record in Redis, of whatever epoch."""
    fields = await stores.pipeline.redis.hgetall(_record_key(booking.id))
    return {name.decode(): value.decode() for name, value in fields.items()} or None


async def unpersisted(stores: Stores) -> set[UUID]:
    """The bookings that PostgreSQL has not heard the last of."""
    pipeline = stores.pipeline.redis.pipeline(transaction=False)
    for partition in range(PARTITIONS):
        pipeline.zrange(f"{{p{partition}}}:unpersisted", 0, -1)
    return {UUID(booking_id.decode()) for ids in await pipeline.execute() for booking_id in ids}


async def records_of(stores: Stores, booking_ids: Collection[UUID]) -> dict[UUID, tuple[str, int]]:
    """Status and version of those of the bookings that have a record of this epoch."""
    pipeline = stores.pipeline.redis.pipeline(transaction=False)
    for booking_id in booking_ids:
        pipeline.hmget(_record_key(booking_id), "epoch", "status", "version")
    answers = zip(booking_ids, await pipeline.execute(), strict=True)
    epoch = str(stores.scripts.epoch).encode()
    return {each: (status.decode(), int(version)) for each, (found, status, version) in answers if found == epoch}


async def row(stores: Stores, booking: Booking) -> dict[str, object] | None:
    """A booking's row in PostgreSQL."""
    async with stores.engine.connect() as connection:
        found = (
            await connection.execute(text("SELECT * FROM bookings WHERE id = :id"), {"id": booking.id})
        ).one_or_none()
    return None if found is None else dict(found._mapping)


async def rows(stores: Stores, event: Event | None = None) -> Counter[str]:
    """How many bookings of each status PostgreSQL has, of one event or in all."""
    where, values = ("WHERE event_id = :id", {"id": event.id}) if event else ("", {})
    statement = text(f"SELECT status, count(*) AS number FROM bookings {where} GROUP BY status")
    async with stores.engine.connect() as connection:
        return Counter(dict((await connection.execute(statement, values)).all()))


async def pool(stores: Stores, event: Event) -> tuple[int, int]:
    """What PostgreSQL's own count of an event's places says: (size, taken)."""
    async with stores.engine.connect() as connection:
        found = await connection.execute(text("SELECT size, taken FROM pools WHERE event_id = :id"), {"id": event.id})
        size, places = found.one()
        return int(size), int(places)


async def retire(stores: Stores, booking: Booking) -> None:
    """Let a settled record's lifetime be over now."""
    redis = stores.pipeline.redis
    assert await redis.pttl(_record_key(booking.id)) > 0, "only a settled record retires"
    await redis.delete(_record_key(booking.id))


async def differences(stores: Stores) -> list[str]:
    """Every counter that is not what the bookings add up to; empty when the books are balanced.

    A booking counts by its record in Redis if it has one of this epoch, else by its row. A closed event
    has no counters.
    """
    held = await _held(stores)
    found = []
    async with stores.engine.connect() as connection:
        pools = (await connection.execute(text("SELECT event_id, size, taken FROM pools"))).all()
        closed = set((await connection.execute(text("SELECT id FROM events WHERE closed_at IS NOT NULL"))).scalars())
        booked = dict((await connection.execute(_BOOKED)).all())
    for event_id, size, pool_taken in pools:
        counted = await counters_of(stores, event_id)
        expected = held.get(event_id, Counter())
        if counted != ({} if event_id in closed else dict(expected)):
            found.append(f"{event_id}: Redis counts {counted}, its bookings hold {dict(expected)}")
        if pool_taken != booked.get(event_id, 0):
            found.append(f"{event_id}: the pool counts {pool_taken}, rows hold {booked.get(event_id, 0)}")
        if expected[POOL_MAIN] > size:
            found.append(f"{event_id}: {expected[POOL_MAIN]} of {size} places are sold")
    return found


_BOOKED = text("SELECT event_id, sum(quantity) FROM bookings WHERE status = 'confirmed' GROUP BY event_id")


async def counters_of(stores: Stores, event_id: UUID) -> dict[str, int]:
    """`counters` of the event with this id."""
    fields = await stores.pipeline.redis.hgetall(f"{{p{partition_of_event(event_id)}}}:counters:{event_id}")
    names = [name for name in fields if name.startswith(COUNTER_PREFIXES)]
    return {name.decode(): int(fields[name]) for name in names if int(fields[name])}


async def _held(stores: Stores) -> dict[UUID, Counter[str]]:
    """Per event and counter, what pending and confirmed bookings hold."""
    epoch = await stores.epochs.current()
    async with stores.engine.connect() as connection:
        found = await connection.execute(text("SELECT id, event_id, user_id, quantity, status FROM bookings"))
        bookings = {row.id: (row.event_id, row.user_id, row.quantity, row.status) for row in found}
    async for key in stores.pipeline.redis.scan_iter("*:booking:*", count=1_000):
        fields = {name.decode(): value.decode() for name, value in (await stores.pipeline.redis.hgetall(key)).items()}
        if fields.get("epoch") == str(epoch):
            booking_id = UUID(key.decode().rpartition(":")[2])
            bookings[booking_id] = (
                UUID(fields["event"]),
                UUID(fields["user"]),
                int(fields["quantity"]),
                fields["status"],
            )
    held: dict[UUID, Counter[str]] = {}
    for event_id, user_id, quantity, status in bookings.values():
        if status in HOLDING:
            held.setdefault(event_id, Counter()).update({POOL_MAIN: quantity, user_counter(user_id): quantity})
    return held


def _record_key(booking_id: UUID) -> str:
    return f"{{p{partition_of_booking(booking_id)}}}:booking:{booking_id}"
