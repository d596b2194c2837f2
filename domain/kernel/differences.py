"""Differences between the counters and the bookings of an event, and the repair of each. No server is called here.

Redis' counters are read at one instant of Redis' clock. The bookings are read later: first the unpersisted ones from
Redis, then the rest in one snapshot of PostgreSQL. Every change of a booking carries its time on the same clock. The
value that a counter should have had at its instant is computed from these times, without stopping sales.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.kernel.bookings import HOLDING, Booking
from domain.kernel.claims import SINGLE_SIZE, SIZE_MAX, is_single, read_claims
from domain.kernel.times import to_ms

if TYPE_CHECKING:
    from collections.abc import Iterable


class Fault(StrEnum):
    """The kinds of difference that reconciliation finds."""

    COUNTER_TOO_HIGH = "counter_too_high"
    """Redis counts units that no booking claims, so less is sold than there is."""
    COUNTER_TOO_LOW = "counter_too_low"
    """Bookings claim units that Redis does not count, so more would be sold than there is."""
    TERMS_DIFFER = "terms_differ"
    """The terms or the sizes in Redis are not those of PostgreSQL."""
    UNINSTALLED = "uninstalled"
    """Redis has no counters of the event."""
    ROW_MISCOUNTED = "row_miscounted"
    """The counter's row in PostgreSQL has another number than the sum of its bookings."""
    ROW_RESIZED = "row_resized"
    """The counter's row in PostgreSQL has another size than the event gives it."""
    ORPHAN_RECORD = "orphan_record"
    """A booking record that is not in the unpersisted set and has no lifetime, so that no worker would persist it."""


class Repair(StrEnum):
    """The repair of a difference."""

    MEND_COUNTER = "mend_counter"
    REINSTALL_TERMS = "reinstall_terms"
    REBUILD = "rebuild"
    RECOUNT_ROW = "recount_row"
    RELIST = "relist"


REPAIRS: dict[Fault, Repair] = {
    Fault.COUNTER_TOO_HIGH: Repair.MEND_COUNTER,
    Fault.COUNTER_TOO_LOW: Repair.MEND_COUNTER,
    Fault.TERMS_DIFFER: Repair.REINSTALL_TERMS,
    Fault.UNINSTALLED: Repair.REBUILD,
    Fault.ROW_MISCOUNTED: Repair.RECOUNT_ROW,
    Fault.ROW_RESIZED: Repair.RECOUNT_ROW,
    Fault.ORPHAN_RECORD: Repair.RELIST,
}


class Difference(Struct, frozen=True):
    """One difference: `found` is the stored value, `expected` the correct one."""

    event_id: UUID
    fault: Fault
    subject: str
    found: int
    expected: int

    @property
    def drift(self) -> int:
        """`found` minus `expected`, in the unit of the subject."""
        return self.found - self.expected

    @property
    def repair(self) -> Repair:
        """The repair of this kind of difference."""
        return REPAIRS[self.fault]


class Counted(Struct, frozen=True):
    """A page of an event's counters, all read at one instant."""

    at_ms: int
    taken: dict[str, int]


class CounterBooks(Struct, frozen=True):
    """An event's counters in Redis, page by page, and their sizes; `terms` is None when it has none.

    `mends` is the number of repairs so far; a repair is applied only if it has not changed. `ahead_ms` is how far
    Redis' clock is behind the latest time that the event has recorded, 0 when it is not behind.
    """

    terms: str | None
    sizes: dict[str, int]
    mends: int
    pages: list[Counted]
    ahead_ms: int


class CounterRow(Struct, frozen=True):
    """A counter in PostgreSQL."""

    size: int
    taken: int


class StoredBooks(Struct, frozen=True):
    """An event in one snapshot of PostgreSQL.

    `sizes` are those that the event gives its counters, `rows` the counters as they are stored; of the singles, those
    that are not stored as bookings claim them. `held` maps every counter to the units that bookings claim of it.
    `moving` has the bookings that changed since the counters were read, or that Redis lists as unpersisted. A `closed`
    event has no counters in Redis.
    """

    event_id: UUID
    terms: str
    sizes: dict[str, int]
    rows: dict[str, CounterRow]
    held: dict[str, int]
    moving: dict[UUID, Booking]
    closed: bool = False


class Move(Struct, frozen=True):
    """A recent change of a booking: its claims, when it began and ceased to hold them, and what is `counted`.

    PostgreSQL counts the claims of its row. They may contain some that have ended since with a hold, or that were given
    back. From `created_ms` until `from_ms` it is not known what the booking held: its claims and more, or nothing.
    """

    claims: dict[str, int]
    created_ms: int
    from_ms: int
    until_ms: int | None
    counted: dict[str, int]

    def unknown(self, at_ms: int) -> bool:
        """Whether it is not known what the booking held at `at_ms`."""
        return self.created_ms < self.from_ms and self.created_ms <= at_ms <= self.from_ms

    def held(self, at_ms: int) -> tuple[bool, bool]:
        """Whether the booking surely held its claims at `at_ms`, and whether it may have held them.

        They differ for a change in the millisecond of `at_ms`: it was made before the reading or after it. Calls that
        arrive together run within one millisecond, so this is common.
        """
        after_ms = at_ms + 1
        surely = self.from_ms < at_ms and (self.until_ms is None or self.until_ms > at_ms)
        maybe = self.from_ms < after_ms and (self.until_ms is None or self.until_ms >= at_ms)
        return surely, maybe


def moves(unpersisted: Iterable[Booking], stored: StoredBooks) -> list[Move]:
    """Every booking of the event that may have changed since the counters were read, in its newest version."""
    newest = dict(stored.moving)
    for booking in unpersisted:
        row = newest.get(booking.id)
        if booking.event_id == stored.event_id and (row is None or row.version <= booking.version):
            newest[booking.id] = booking
    return [_move(booking, stored.moving.get(booking.id)) for booking in newest.values()]


def differences(
    counters: CounterBooks, unpersisted: Iterable[Booking], stored: StoredBooks, *, until_ms: int
) -> list[Difference]:
    """The differences that one reading of an event shows; a difference is real if `confirmed` finds it in two readings.

    `until_ms` is Redis' clock after everything was read. While that clock is behind a recorded time, counters are not
    compared, because it cannot be known which changes they contain.
    """
    if stored.closed:
        return list(_stored_differences(stored))
    if counters.terms is None:
        return [Difference(stored.event_id, Fault.UNINSTALLED, "terms", 0, 1)]
    found = list(_stored_differences(stored))
    # Redis keeps the size of a counter that the event has no more, until the next rebuild. It decides nothing.
    known = {name: size for name, size in counters.sizes.items() if name in stored.sizes}
    if counters.terms != stored.terms or known != stored.sizes:
        sizes = sum(known.values()), sum(stored.sizes.values())
        found.append(Difference(stored.event_id, Fault.TERMS_DIFFER, "terms", *sizes))
    moving = moves(unpersisted, stored)
    if not clock_is_behind(counters, moving, until_ms=until_ms):
        found += _counter_differences(counters, moving, stored)
    return found


def clock_is_behind(counters: CounterBooks, moving: Iterable[Move], *, until_ms: int) -> bool:
    """Whether Redis' clock was set back: a recorded time is later than the end of this reading."""
    if counters.ahead_ms > 0 or any(page.at_ms > until_ms for page in counters.pages):
        return True
    return any(move.from_ms > until_ms or (move.until_ms or 0) > until_ms for move in moving)


def _counter_differences(counters: CounterBooks, moving: list[Move], stored: StoredBooks) -> Iterable[Difference]:
    """Counters that differ from the bookings.

    The claims in PostgreSQL are summed once; recent changes are added for each page at the instant of that page. A
    change in the same millisecond as the page leaves two values open, and neither is a difference.
    """
    held = stored.held
    shift = _shift(moving, at_ms=0)
    seen: set[str] = set()
    for page in counters.pages:
        shift = _shift(moving, at_ms=page.at_ms)
        seen |= page.taken.keys()
        for counter, taken in page.taken.items():
            yield from _counter_difference(stored.event_id, counter, taken, held.get(counter, 0), shift[counter])
    for counter in (held | shift).keys() - seen:
        yield from _counter_difference(stored.event_id, counter, 0, held.get(counter, 0), shift[counter])


def confirmed(first: Iterable[Difference], second: Iterable[Difference]) -> list[Difference]:
    """The differences that two readings agree on; a booking in flight shows a different one in each."""
    earlier = {(each.fault, each.subject, each.drift) for each in first}
    return [each for each in second if (each.fault, each.subject, each.drift) in earlier]


def _move(booking: Booking, row: Booking | None) -> Move:
    created_ms = to_ms(booking.created_at)
    from_ms = to_ms(booking.taken_at) if booking.taken_at else created_ms
    until_ms = None if booking.status in HOLDING else to_ms(booking.cancelled_at) if booking.cancelled_at else from_ms
    return Move(
        claims=read_claims(booking.known_claims),
        created_ms=created_ms,
        from_ms=from_ms,
        until_ms=until_ms,
        counted=read_claims(row.known_claims) if row is not None and row.status in HOLDING else {},
    )


def _shift(moving: Iterable[Move], *, at_ms: int) -> defaultdict[str, tuple[int, int]]:
    """The least and the most to add to PostgreSQL's counts to get those at `at_ms`, by counter; (0, 0) if unchanged."""
    found: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for move in moving:
        surely, maybe = move.held(at_ms)
        for counter in move.claims | move.counted:
            claimed, counted = move.claims.get(counter, 0), move.counted.get(counter, 0)
            most = SIZE_MAX if move.unknown(at_ms) else maybe * claimed
            before = found[counter]
            found[counter] = (before[0] + surely * claimed - counted, before[1] + most - counted)
    return found


def _counter_difference(
    event_id: UUID, counter: str, taken: int, held: int, shift: tuple[int, int]
) -> Iterable[Difference]:
    """The difference of a counter that is outside of what the bookings allow, to the nearest allowed value."""
    least, most = held + shift[0], held + shift[1]
    if taken > most:
        yield Difference(event_id, Fault.COUNTER_TOO_HIGH, counter, taken, most)
    elif taken < least:
        yield Difference(event_id, Fault.COUNTER_TOO_LOW, counter, taken, least)


def _stored_differences(stored: StoredBooks) -> Iterable[Difference]:
    for counter, row in stored.rows.items():
        booked, size = stored.held.get(counter, 0), SINGLE_SIZE if is_single(counter) else stored.sizes[counter]
        if row.taken != booked:
            yield Difference(stored.event_id, Fault.ROW_MISCOUNTED, counter, row.taken, booked)
        if row.size != size:
            yield Difference(stored.event_id, Fault.ROW_RESIZED, counter, row.size, size)
