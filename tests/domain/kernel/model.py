"""The engine in the plainest words: dictionaries, no Redis, no PostgreSQL and nobody else at the same time.

What is taken is never counted here, always added up from the bookings; so a counter that the engine keeps
is compared with the reason for it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from domain.kernel.bookings import HOLDING, TRANSITIONS, BookingStatus
from domain.kernel.claims import SINGLE_SIZE, SIZE_MAX, is_single

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from domain.kernel.bookings import Order

HELD, PENDING, CONFIRMED, CANCELLED, EXPIRED, REJECTED = (
    BookingStatus.HELD,
    BookingStatus.PENDING,
    BookingStatus.CONFIRMED,
    BookingStatus.CANCELLED,
    BookingStatus.EXPIRED,
    BookingStatus.REJECTED,
)

ENDING = "holds:"
"""The prefix of counters whose claims end with a hold."""


@dataclass(frozen=True)
class Asked:
    """What somebody asked for, once: `id` follows from the other fields but `order`."""

    id: UUID
    event_id: UUID
    user_id: UUID
    key: str
    order: Order


@dataclass(frozen=True)
class Copy:
    """A booking as one store has it.

    `due` says that the deadline of a hold has passed; `again` that its claims are not those of its beginning: it took
    them again, or gave some back.
    """

    status: BookingStatus
    version: int
    claims: Counter[str]
    quantity: int = 1
    due: bool = False
    again: bool = False

    @property
    def holds(self) -> bool:
        return self.status in HOLDING

    @property
    def told(self) -> Copy:
        """What a reader is told: a hold past its deadline has expired, noticed or not."""
        return self.next(EXPIRED) if self.status is HELD and self.due else self

    def next(self, status: BookingStatus) -> Copy:
        """The next version."""
        return replace(self, status=status, version=self.version + 1, due=False)


@dataclass
class EventModel:
    """An event: the sizes of its counters as they were last set, and as PostgreSQL's CHECK has them."""

    max_per_user: int
    sizes: dict[str, int]
    row_sizes: dict[str, int]


@dataclass
class Snapshot:
    """A batch that a worker read, and what PostgreSQL answered when it was written."""

    read: dict[UUID, Copy]
    written: dict[UUID, Copy] = field(default_factory=dict)


class Model:
    """Each method does what the engine must do, and answers with the word for it.

    `claimed` are the counters that each booking ever claimed. `intents` are the newest acknowledged changes, which
    survive the loss of Redis if the engine is `durable`.
    """

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable
        self.events: dict[UUID, EventModel] = {}
        self.asked: dict[UUID, Asked] = {}
        self.claimed: dict[UUID, set[str]] = {}
        self.records: dict[UUID, Copy] = {}
        self.rows: dict[UUID, Copy] = {}
        self.intents: dict[UUID, Copy] = {}
        self.unpersisted: set[UUID] = set()
        self.seen: set[tuple[UUID, UUID]] = set()

    def booking(self, booking_id: UUID) -> Copy | None:
        """A booking as it stands: as Redis has it, or else PostgreSQL."""
        return self.records.get(booking_id) or self.rows.get(booking_id)

    def counters(self, event_id: UUID) -> Counter[str]:
        """What is taken of each counter of an event, from the bookings that hold something."""
        return self._sum(event_id, {**self.rows, **self.records})

    def row_counters(self, event_id: UUID) -> Counter[str]:
        """What PostgreSQL counts as taken of each counter."""
        return self._sum(event_id, self.rows)

    def seats(self) -> dict[tuple[UUID, str], UUID]:
        """The booking that PostgreSQL has in the row of each single."""
        return {
            (self.asked[booking_id].event_id, name): booking_id
            for booking_id, row in self.rows.items()
            if row.holds
            for name, number in row.claims.items()
            if number and is_single(name)
        }

    def reserve(self, asked: Asked) -> str:
        """Take the first list of claims that fits, or say why not; a booking made before is returned."""
        made = self.asked.get(asked.id)
        same = made is not None and made.order.fingerprint == asked.order.fingerprint
        if asked.id in self.records:
            if same:
                self._acknowledge(asked.id)
            return "replayed" if same else "mismatch"
        if (asked.event_id, asked.user_id) in self.seen:
            if asked.id in self.rows:
                return "replayed" if same else "mismatch"
            if self._key_rows(asked):
                return "mismatch"
        fitting = self._fitting(asked)
        if isinstance(fitting, str) and self.expire(asked.event_id):
            fitting = self._fitting(asked)
        if isinstance(fitting, str):
            return fitting
        self.asked[asked.id] = asked
        self.claimed.setdefault(asked.id, set()).update(fitting)
        self.seen.add((asked.event_id, asked.user_id))
        made = Copy(HELD if asked.order.hold_ms else PENDING, 1, fitting, asked.order.quantity)
        self._change(asked.id, made)
        self._acknowledge(asked.id)
        return "reserved"

    def cancel(self, booking_id: UUID) -> BookingStatus | None:
        """Return the claims, once; returns the status after it, None for an unknown booking."""
        booking = self._restored(booking_id)
        if booking is None:
            return None
        if booking.holds:
            self._change(booking_id, booking.next(EXPIRED if booking.due else CANCELLED))
        self._acknowledge(booking_id)
        return self.records[booking_id].status

    def confirm(self, booking_id: UUID) -> BookingStatus | str | None:
        """Confirm a hold; when it is late, take its claims again or say that it has expired."""
        booking = self._restored(booking_id)
        if booking is None:
            return None
        if booking.status in {HELD, EXPIRED}:
            event_id, late = self.asked[booking_id].event_id, booking.told.status is EXPIRED
            if booking.due:
                self.expire(event_id)
                booking = self.records[booking_id]
            kept = Counter({name: number for name, number in booking.claims.items() if not name.startswith(ENDING)})
            taken = self.counters(event_id)
            if late and any(n and taken[name] + n > self._size_again(event_id, name) for name, n in kept.items()):
                return "expired"
            self._change(booking_id, replace(booking.next(PENDING), claims=kept, again=booking.again or late))
        self._acknowledge(booking_id)
        return self.records[booking_id].status

    def extend(self, booking_id: UUID) -> BookingStatus | str | None:
        """Move the deadline of a hold into the future, unless it has passed."""
        booking = self._restored(booking_id)
        if booking is None:
            return None
        if booking.due:
            return "expired"
        if booking.status is HELD:
            self._change(booking_id, booking.next(HELD))
        self._acknowledge(booking_id)
        return self.records[booking_id].status

    def reduce(self, booking_id: UUID, kept: Counter[str], quantity: int) -> BookingStatus | str | None:
        """Keep these claims and tickets of a booking, if it holds any and its deadline has not passed."""
        booking = self._restored(booking_id)
        if booking is None:
            return None
        if booking.due:
            return "expired"
        if booking.holds and booking.quantity != quantity:
            changed = replace(booking.next(booking.status), claims=kept, quantity=quantity, again=True)
            self._change(booking_id, changed)
        self._acknowledge(booking_id)
        return self.records[booking_id].status

    def expire(self, event_id: UUID) -> int:
        """Expire the holds of an event whose deadline has passed; returns how many."""
        due = [each for each, copy in self.records.items() if copy.due and self.asked[each].event_id == event_id]
        for booking_id in due:
            self._change(booking_id, self.records[booking_id].told)
        return len(due)

    def make_due(self, booking_id: UUID) -> None:
        """Let the deadline of a hold pass."""
        for copies in (self.records, self.rows, self.intents):
            if booking_id in copies and copies[booking_id].status is HELD:
                copies[booking_id] = replace(copies[booking_id], due=True)

    def read(self, booking_ids: Iterable[UUID]) -> Snapshot:
        """What a worker reads of these unpersisted bookings, in their order."""
        return Snapshot({booking_id: self.records[booking_id] for booking_id in booking_ids})

    def write(self, snapshot: Snapshot) -> set[UUID]:
        """Write a batch to PostgreSQL; answers what that refuses. What returns claims goes first."""
        refused = set()
        for booking_id, copy in sorted(snapshot.read.items(), key=lambda item: self._takes(*item)):
            if self._refuses(booking_id, copy):
                refused.add(booking_id)
                continue
            before = self.rows.get(booking_id)
            if before is None or before.version < copy.version:
                self.rows[booking_id] = replace(copy, status=CONFIRMED) if copy.status is PENDING else copy
            snapshot.written[booking_id] = self.rows[booking_id]
        return refused

    def settle(self, snapshot: Snapshot) -> None:
        """Take out of the unpersisted set what is written, unless it changed since it was read."""
        for booking_id, row in snapshot.written.items():
            record = self.records.get(booking_id)
            if record and record.version == snapshot.read[booking_id].version:
                self._move(booking_id, replace(row, due=record.due))
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
        """Return the claims of a booking that PostgreSQL refused, if it is still the one it refused."""
        record = self.records.get(booking_id)
        if record and record.holds and record.version == version:
            self._change(booking_id, record.next(REJECTED))

    def retire(self, booking_id: UUID) -> None:
        """Forget a record that PostgreSQL has."""
        del self.records[booking_id]

    def resize(self, event_id: UUID, counter: str, size: int) -> str:
        """Change the size of a counter, unless more is taken of it."""
        event, taken = self.events[event_id], self.counters(event_id)[counter]
        if self.row_counters(event_id)[counter] > size:
            return "later" if taken <= size else "below_sold"
        if taken > size:
            return "below_sold"
        event.sizes[counter] = size
        self.renew(event_id)
        return "changed"

    def renew(self, event_id: UUID) -> None:
        """Put an event's terms in force: its rows get their sizes."""
        event = self.events[event_id]
        event.row_sizes = dict(event.sizes)

    def reopen(self, event_id: UUID) -> None:
        """Make an event's counters from PostgreSQL."""
        of_rows = {self.asked[booking_id] for booking_id in self.rows if self.asked[booking_id].event_id == event_id}
        self.seen = {(event, user) for event, user in self.seen if event != event_id}
        self.seen |= {(asked.event_id, asked.user_id) for asked in of_rows}

    def rebuild(self, batches: Sequence[Sequence[UUID]]) -> None:
        """Persist what survived, batch by batch, then what was acknowledged; start again from PostgreSQL alone."""
        for batch in batches:
            self._drain(self.read(batch))
        self._drain_intents()
        self.records = {each: row for each, row in self.rows.items() if row.status is HELD}
        self.unpersisted.clear()
        self.seen = {(self.asked[booking_id].event_id, self.asked[booking_id].user_id) for booking_id in self.rows}

    def wipe(self) -> None:
        """Lose what only Redis had."""
        self.records.clear()
        self.unpersisted.clear()

    def _drain_intents(self) -> None:
        """Persist what was acknowledged and lost: returns, then what has expired, then the rest."""
        lost = {each: copy for each, copy in self.intents.items() if copy.version > _version(self.rows.get(each))}
        holding = {each: copy for each, copy in lost.items() if copy.told.holds}
        self._drain_in_order({each: copy.told for each, copy in lost.items() if each not in holding})
        self._drain_in_order({each: row.told for each, row in self.rows.items() if row.due and each not in holding})
        self._drain_in_order({each: copy for each, copy in holding.items() if not self._takes(each, copy)})
        self._drain_in_order({each: copy for each, copy in holding.items() if self._takes(each, copy)})

    def _drain_in_order(self, lost: dict[UUID, Copy]) -> None:
        in_order = sorted(lost, key=lambda each: (self.asked[each].event_id, each))
        self._drain(Snapshot({each: lost[each] for each in in_order}))

    def _drain(self, snapshot: Snapshot) -> None:
        for booking_id in self.write(snapshot):
            self._write_off(snapshot, booking_id)

    def _fitting(self, asked: Asked) -> Counter[str] | str:
        """The first list of claims that fits whole, or what the first list is short of."""
        event, taken, short = self.events[asked.event_id], self.counters(asked.event_id), ""
        for claims in asked.order.alternatives(event, account_id=asked.user_id):
            wanted, sizes = Counter[str](), dict[str, int]()
            for claim in claims:
                wanted[claim.counter] += claim.quantity
                sizes[claim.counter] = claim.size
            lacks = [name for name, number in wanted.items() if number and taken[name] + number > sizes[name]]
            if not lacks:
                return wanted
            short = short or f"{sizes[lacks[0]] - taken[lacks[0]]} left of {lacks[0]}"
        return short

    def _size_again(self, event_id: UUID, name: str) -> int:
        """The size of a counter of which a late confirmation takes again."""
        event = self.events[event_id]
        if is_single(name):
            return SINGLE_SIZE
        of_account = name.startswith("user:") and name.count(":") == 1
        return event.sizes.get(name, event.max_per_user if of_account else SIZE_MAX)

    def _restored(self, booking_id: UUID) -> Copy | None:
        """A booking's record, restored from its row."""
        booking = self.booking(booking_id)
        if booking is not None:
            self.records.setdefault(booking_id, booking)
        return booking

    def _sum(self, event_id: UUID, copies: dict[UUID, Copy]) -> Counter[str]:
        taken: Counter[str] = Counter()
        for booking_id, copy in copies.items():
            if copy.holds and self.asked[booking_id].event_id == event_id:
                taken.update(copy.claims)
        return taken

    def _acknowledge(self, booking_id: UUID) -> None:
        told = self.records[booking_id].told
        unsure = told.status is not CONFIRMED or told.again
        if self.durable and unsure and told.version > _version(self.intents.get(booking_id)):
            self.intents[booking_id] = told

    def _change(self, booking_id: UUID, copy: Copy) -> None:
        self._move(booking_id, copy)
        self.unpersisted.add(booking_id)

    def _move(self, booking_id: UUID, copy: Copy) -> None:
        before = self.records.get(booking_id, copy).status
        assert copy.status == before or copy.status in TRANSITIONS[before]
        self.records[booking_id] = copy

    def _takes(self, booking_id: UUID, copy: Copy) -> bool:
        """Whether a copy holds something that PostgreSQL does not count as held by its booking."""
        row = self.rows.get(booking_id)
        return copy.holds and not (row is not None and row.holds)

    def _refuses(self, booking_id: UUID, copy: Copy) -> bool:
        asked, before = self.asked[booking_id], self.rows.get(booking_id)
        if before and before.version >= copy.version:
            return False
        if copy.status is not REJECTED and self._key_rows(asked):
            return True
        if not copy.holds:
            return False
        taken, sizes = self.row_counters(asked.event_id), dict(self.events[asked.event_id].row_sizes)
        more = copy.claims - before.claims if before and before.holds else copy.claims
        sizes |= {name: SINGLE_SIZE for name in more if is_single(name)}
        return any(number and taken[name] + number > sizes[name] for name, number in more.items() if name in sizes)

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
        row = snapshot.read[booking_id].next(REJECTED)
        self.rows[booking_id] = snapshot.written[booking_id] = row


def _version(copy: Copy | None) -> int:
    return copy.version if copy else 0
