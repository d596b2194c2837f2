"""The unpersisted sets: which accepted changes are not yet in PostgreSQL, and which worker persists them.

There is one set for each partition. It is the truth of what must still be persisted, and only a settled booking leaves
it. Fails closed: outside the inventory's epoch, nothing is settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct
from msgspec.msgpack import Decoder

from domain.kernel.bookings import HOLDING
from domain.kernel.partitions import PARTITIONS, partition_of_event
from domain.kernel.refusals import Unavailable
from domain.kernel.unpersisted import Unpersisted
from domain.platform.concurrency import together
from domain.sales.order_body import types_of
from domain.store.redis.keys import (
    doorbell_key,
    dues_key,
    epoch_key,
    lease_key,
    mine_key,
    mine_prefix,
    record_prefix,
    unpersisted_key,
)
from domain.store.redis.records import RETIRE_MS, read_records
from domain.store.redis.scripts import KeysApart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from domain.kernel.bookings import Booking
    from domain.kernel.unpersisted import Settlement
    from domain.store.redis.scripts import Scripts

WAITING_MAX = 2_000
"""Unpersisted bookings of a partition that are searched for those of one event. A search takes up to 0.1 s."""

_PAGE = Decoder(list[Unpersisted], strict=False)
"""Redis returns numbers as text; the decoder converts them."""


class Turn(Struct, frozen=True):
    """A partition's unpersisted set after a batch was removed from it: its size, and some of its oldest entries."""

    left: int
    page: list[Unpersisted]


class Pulse(Struct, frozen=True):
    """The unpersisted changes of a partition. A negative age means that Redis' clock was set back.

    `due` says that the deadline of a hold has passed.
    """

    unpersisted_count: int
    oldest_age_ms: int
    due: bool = False


class UnpersistedSets:
    """Reads and settles the unpersisted sets, one typed method per script."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts
        self._pipeline = scripts.pipeline
        self._apart = False

    async def read(self, partition: int, *, limit: int) -> list[Unpersisted]:
        """A batch: the oldest unpersisted bookings of a partition with their records."""
        return (await self.turn(partition, [], limit=limit)).page

    async def bookings(self, partition: int, *, limit: int) -> list[Booking]:
        """The oldest unpersisted bookings of a partition, of any epoch; used to compare counters with bookings."""
        ids = await self._pipeline.call("ZRANGE", unpersisted_key(partition), 0, limit - 1)
        return await read_records(self._pipeline, [UUID(booking_id.decode()) for booking_id in ids])

    async def of_account(self, user_id: UUID) -> list[Booking]:
        """An account's bookings that are not yet in PostgreSQL, from their records."""
        found: set[UUID] = set()
        pipe = self._pipeline.redis.pipeline(transaction=False)
        for partition in range(PARTITIONS):
            pipe.smembers(mine_key(partition, user_id))
        for members in await self._pipeline.execute(pipe):
            found.update(UUID(member.decode()) for member in members)
        return await read_records(self._pipeline, sorted(found))

    async def settle(self, partition: int, settlements: Sequence[Settlement]) -> int:
        """Remove persisted bookings from the unpersisted set; returns how many are left in it."""
        return (await self.turn(partition, settlements, limit=0)).left

    async def turn(self, partition: int, settlements: Sequence[Settlement], *, skip: int = 0, limit: int) -> Turn:
        """Settle one batch and read another in one round trip (settle_bookings.lua).

        The `skip` oldest entries are not read, because they are being written. An entry that moves meanwhile may be
        read twice or be left for a later call; neither does harm.

        Raises:
            InventoryUnavailable: nothing was settled; the batch is persisted again in the next epoch.
        """
        keys = [epoch_key(partition), unpersisted_key(partition), doorbell_key(partition)]
        records, mine = record_prefix(partition), mine_prefix(partition)
        args: list[Any] = [RETIRE_MS, records, skip, limit]
        for item in settlements:
            read, written = item.read, item.written
            keys += (records + read.id, mine + (read.user_id or read.id))
            args += (
                read.id,
                read.version if read.recorded else "",
                written.status,
                written.version,
                written.confirmed_ms or "",
            )
        answer = await self._scripts.call("settle_bookings", keys, args)
        return Turn(int(answer[1]), _PAGE.decode(answer[2]))

    async def pulse(self, partition: int) -> Pulse:
        """The unpersisted changes of a partition (check_partition.lua).

        Raises:
            InventoryUnavailable: the partition does not sell.
        """
        (pulse,) = await self._pulses([partition])
        return pulse

    async def pulses(self) -> list[Pulse]:
        """The unpersisted changes of each partition: one call, or one for each on a cluster.

        Raises:
            InventoryUnavailable: one of them does not sell.
        """
        if not self._apart:
            try:
                return await self._pulses(range(PARTITIONS))
            except KeysApart:
                self._apart = True
        return await together(self.pulse, range(PARTITIONS), at_once_max=PARTITIONS)

    async def _pulses(self, partitions: Iterable[int]) -> list[Pulse]:
        keys = [key(each) for each in partitions for key in (epoch_key, unpersisted_key, dues_key)]
        _, *measured = await self._scripts.call("check_partition", keys, [])
        columns = (measured[0::3], measured[1::3], measured[2::3])
        return [Pulse(int(count), int(age_ms), due == 1) for count, age_ms, due in zip(*columns, strict=True)]

    async def take_lease(self, partition: int, *, holder: str, lease_ms: int) -> bool:
        """Whether `holder` gets the lease to persist this partition (take_lease.lua).

        The lease only saves work: two holders at once do no harm.
        """
        answer = await self._scripts.call(
            "take_lease", [epoch_key(partition), lease_key(partition)], [holder, lease_ms]
        )
        return bool(answer[0] == b"taken")

    async def leave_lease(self, partition: int, *, holder: str) -> None:
        """Give up the lease, so that the next worker can take it at once."""
        value = await self._pipeline.call("GET", lease_key(partition)) or b""
        if value.rpartition(b" ")[0] == holder.encode():
            await self._pipeline.call("DEL", lease_key(partition))

    async def is_event_persisted(self, event_id: UUID) -> bool:
        """Whether no booking of the event is unpersisted.

        Also False when its partition has more than WAITING_MAX unpersisted bookings.
        """
        waiting = await self.bookings(partition_of_event(event_id), limit=WAITING_MAX + 1)
        return len(waiting) <= WAITING_MAX and all(booking.event_id != event_id for booking in waiting)

    async def has_tickets_of_type(self, event_id: UUID, type_id: UUID) -> bool:
        """Whether an unpersisted booking of an event holds tickets of a type.

        Raises:
            Unavailable: the partition has more than WAITING_MAX unpersisted bookings.
        """
        waiting = await self.bookings(partition_of_event(event_id), limit=WAITING_MAX + 1)
        if len(waiting) > WAITING_MAX:
            detail = "Bookings of the event are still being stored. Try again."
            raise Unavailable(detail, retry_after_seconds=1)
        return any(
            booking.event_id == event_id and booking.status in HOLDING and type_id in types_of(booking)
            for booking in waiting
        )
