"""The engine in the plainest words: dictionaries, no Redis, no PostgreSQL and nobody else at the same time.

What is taken is never counted here, always added up from the bookings; so a counter that the engine keeps
is compared with the reason for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from domain.kernel.bookings import HOLDING, TRANSITIONS, BookingStatus
from domain.kernel.counters import POOL_MAIN, user_counter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

PENDING, CONFIRMED, CANCELLED, REJECTED = (
    BookingStatus.PENDING,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
    BookingStatus.REJECTED,
)


@dataclass(frozen=True)
class Asked:
    """What somebody asked for, once: `id` follows from the other fields but `quantity`."""

    id: UUID
    event_id: UUID
    user_id: UUID
    key: str
    quantity: int


@dataclass(frozen=True)
class Copy:
    """A booking as one store has it."""

    status: BookingStatus
    version: int

    @property
    def holds(self) -> bool:
        return self.status in HOLDING


@dataclass
class EventModel:
    """An event: `capacity` as it was last set, `pool_size` as PostgreSQL's CHECK has it."""

    capacity: int
    max_per_user: int
    pool_size: int


@dataclass
class Snapshot:
    """A batch that a worker read, and what PostgreSQL answered when it was written."""

    read: dict[UUID, Copy]
    written: dict[UUID, Copy] = field(default_factory=dict)


class Model:
    """Each method does what the engine must do, and answers with the word for it."""

    def __init__(self) -> None:
        self.events: dict[UUID, EventModel] = {}
        self.asked: dict[UUID, Asked] = {}
        self.records: dict[UUID, Copy] = {}
        self.rows: dict[UUID, Copy] = {}
        self.unpersisted: set[UUID] = set()
        self.seen: set[tuple[UUID, UUID]] = set()

    def booking(self, booking_id: UUID) -> Copy | None:
        """A booking as it stands: as Redis has it, or else PostgreSQL."""
        return self.records.get(booking_id) or self.rows.get(booking_id)

    def counters(self, event_id: UUID) -> Counter[str]:
        """What is taken of each counter of an event, from the bookings that hold something."""
        taken: Counter[str] = Counter()
        for asked in self.asked.values():
            booking = self.booking(asked.id)
            if asked.event_id == event_id and booking and booking.holds:
                taken.update({POOL_MAIN: asked.quantity, user_counter(asked.user_id): asked.quantity})
        return taken

    def pool_taken(self, event_id: UUID) -> int:
        """What PostgreSQL counts as taken."""
        return sum(
            self.asked[booking_id].quantity
            for booking_id, row in self.rows.items()
            if row.holds and self.asked[booking_id].event_id == event_id
        )

    def reserve(self, asked: Asked) -> str:
        """Take the tickets asked for, or say why not; a booking made before is returned."""
        made = self.asked.get(asked.id)
        if made and asked.id in self.records:
            return "replayed" if made.quantity == asked.quantity else "mismatch"
        if (asked.event_id, asked.user_id) in self.seen:
            if asked.id in self.rows:
                return "replayed" if made and made.quantity == asked.quantity else "mismatch"
            if self._key_rows(asked):
                return "mismatch"
        event, taken = self.events[asked.event_id], self.counters(asked.event_id)
        if taken[user_counter(asked.user_id)] + asked.quantity > event.max_per_user:
            return "per_user_limit"
        if taken[POOL_MAIN] + asked.quantity > event.capacity:
            return "sold_out"
        self.asked[asked.id] = asked
        self.seen.add((asked.event_id, asked.user_id))
        self._change(asked.id, Copy(PENDING, 1))
        return "reserved"

    def cancel(self, booking_id: UUID) -> BookingStatus | None:
        """Return the tickets, once; returns the status after it, None for an unknown booking."""
        booking = self.booking(booking_id)
        if booking is None:
            return None
        self.records.setdefault(booking_id, booking)
        if booking.holds:
            self._change(booking_id, Copy(CANCELLED, booking.version + 1))
        return self.records[booking_id].status

    def read(self, booking_ids: Iterable[UUID]) -> Snapshot:
        """What a worker reads of these unpersisted bookings, in their order."""
        return Snapshot({booking_id: self.records[booking_id] for booking_id in booking_ids})

    def write(self, snapshot: Snapshot) -> set[UUID]:
        """Write a batch to PostgreSQL; answers what that refuses. What returns tickets goes first."""
        refused = set()
        for booking_id, copy in sorted(snapshot.read.items(), key=lambda item: item[1].holds):
            if self._refuses(booking_id, copy):
                refused.add(booking_id)
                continue
            before = self.rows.get(booking_id)
            if before is None or before.version < copy.version:
                self.rows[booking_id] = replace(copy, status=CONFIRMED) if copy.holds else copy
            snapshot.written[booking_id] = self.rows[booking_id]
        return refused

    def settle(self, snapshot: Snapshot) -> None:
        """Take out of the unpersisted set what is written, unless it changed since it was read."""
        for booking_id, row in snapshot.written.items():
            record = self.records.get(booking_id)
            if record and record.version == snapshot.read[booking_id].version:
                self._move(booking_id, row)
                self.unpersisted.discard(booking_id)

    def persist(self, booking_ids: Sequence[UUID]) -> None:
        """What one round of a worker does with its batch."""
        snapshot = self.read(booking_ids)
        refused = self.write(snapshot)
        for booking_id in refused:
            if not snapshot.read[booking_id].holds:
                self._write_off(snapshot, booking_id)
        self.settle(snapshot)
        for booking_id in refused:
            if snapshot.read[booking_id].holds:
                self.reject(booking_id, version=snapshot.read[booking_id].version)

    def reject(self, booking_id: UUID, *, version: int) -> None:
        """Return the tickets of a booking that PostgreSQL refused, if it is still the one it refused."""
        record = self.records.get(booking_id)
        if record and record.holds and record.version == version:
            self._change(booking_id, Copy(REJECTED, version + 1))

    def retire(self, booking_id: UUID) -> None:
        """Forget a record that PostgreSQL has."""
        del self.records[booking_id]

    def resize(self, event_id: UUID, capacity: int) -> str:
        """Change an event's capacity, unless more is taken."""
        event, taken = self.events[event_id], self.counters(event_id)[POOL_MAIN]
        if capacity == event.capacity:
            return "same"
        if self.pool_taken(event_id) > capacity:
            return "later" if taken <= capacity else "below_sold"
        if taken > capacity:
            return "below_sold"
        event.capacity = event.pool_size = capacity
        return "changed"

    def rebuild(self, batches: Sequence[Sequence[UUID]]) -> None:
        """Persist what survived, batch by batch, and start again from PostgreSQL alone."""
        for batch in batches:
            snapshot = self.read(batch)
            for booking_id in self.write(snapshot):
                self._write_off(snapshot, booking_id)
        self.records.clear()
        self.unpersisted.clear()
        self.seen = {(self.asked[booking_id].event_id, self.asked[booking_id].user_id) for booking_id in self.rows}

    def wipe(self) -> None:
        """Lose what only Redis had."""
        self.records.clear()
        self.unpersisted.clear()

    def _change(self, booking_id: UUID, copy: Copy) -> None:
        self._move(booking_id, copy)
        self.unpersisted.add(booking_id)

    def _move(self, booking_id: UUID, copy: Copy) -> None:
        before = self.records.get(booking_id, copy).status
        assert copy.status == before or copy.status in TRANSITIONS[before]
        self.records[booking_id] = copy

    def _refuses(self, booking_id: UUID, copy: Copy) -> bool:
        asked, before = self.asked[booking_id], self.rows.get(booking_id)
        if before and before.version >= copy.version:
            return False
        if copy.status is not REJECTED and self._key_rows(asked):
            return True
        event = self.events[asked.event_id]
        more = asked.quantity if copy.holds else 0
        less = asked.quantity if before and before.holds else 0
        return more > less and self.pool_taken(asked.event_id) + more - less > event.pool_size

    def _key_rows(self, asked: Asked) -> list[UUID]:
        """Bookings that PostgreSQL has of the same account and key, of other events, rejected ones left out."""
        return [
            booking_id
            for booking_id, row in self.rows.items()
            if row.status is not REJECTED
            and (self.asked[booking_id].user_id, self.asked[booking_id].key) == (asked.user_id, asked.key)
            and booking_id != asked.id
        ]

    def _write_off(self, snapshot: Snapshot, booking_id: UUID) -> None:
        row = Copy(REJECTED, snapshot.read[booking_id].version + 1)
        self.rows[booking_id] = snapshot.written[booking_id] = row
