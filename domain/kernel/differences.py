"""What an event's books should say, and what to do where they do not. Decisions only; no server is asked here.

A counter is read at one instant on Redis' clock; bookings are read later, from Redis what is unpersisted and
then from PostgreSQL one snapshot. Every change of a booking carries its moment on that same clock, so
what the counter should have said at its instant follows, without stopping traffic.
"""

from __future__ import annotations

from collections import defaultdict
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from msgspec import Struct

from domain.kernel.bookings import HOLDING, Booking, BookingStatus
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.times import to_ms

if TYPE_CHECKING:
    from collections.abc import Iterable


class Fault(StrEnum):
    """What can be wrong with the books."""

    COUNTER_TOO_HIGH = "counter_too_high"
    """Redis holds places that no booking has: fewer are sold than could be."""
    COUNTER_TOO_LOW = "counter_too_low"
    """Bookings have places that Redis does not hold: more would be sold than there are."""
    TERMS_DIFFER = "terms_differ"
    """Redis sells by other terms than PostgreSQL has."""
    UNINSTALLED = "uninstalled"
    """Redis has no counters of the event."""
    POOL_MISCOUNTED = "pool_miscounted"
    """PostgreSQL's pool says another number than its bookings add up to."""
    POOL_RESIZED = "pool_resized"
    """PostgreSQL's pool has another size than the event's capacity."""
    ORPHAN_RECORD = "orphan_record"
    """A booking's record that nobody would ever persist."""


class Repair(StrEnum):
    """What is done about a fault."""

    MEND_COUNTER = "mend_counter"
    REINSTALL_TERMS = "reinstall_terms"
    REBUILD = "rebuild"
    RECOUNT_POOL = "recount_pool"
    RESIZE_POOL = "resize_pool"
    RELIST = "relist"


REPAIRS: dict[Fault, Repair] = {
    Fault.COUNTER_TOO_HIGH: Repair.MEND_COUNTER,
    Fault.COUNTER_TOO_LOW: Repair.MEND_COUNTER,
    Fault.TERMS_DIFFER: Repair.REINSTALL_TERMS,
    Fault.UNINSTALLED: Repair.REBUILD,
    Fault.POOL_MISCOUNTED: Repair.RECOUNT_POOL,
    Fault.POOL_RESIZED: Repair.RESIZE_POOL,
    Fault.ORPHAN_RECORD: Repair.RELIST,
}


class Difference(Struct, frozen=True):
    """One thing that is wrong: `found` is what the books say, `expected` what they should say."""

    event_id: UUID
    fault: Fault
    subject: str
    found: int
    expected: int

    @property
    def drift(self) -> int:
        """By how much, in the unit of the subject."""
        return self.found - self.expected

    @property
    def repair(self) -> Repair:
        """What is done about it."""
        return REPAIRS[self.fault]


class Counted(Struct, frozen=True):
    """A page of an event's counters as of one instant; `mends` tells two repairs of it apart."""

    at_ms: int
    taken: dict[str, int]


class CounterBooks(Struct, frozen=True):
    """An event's counters in Redis, page by page; `terms` and `size` are None when it has none.

    `ahead_ms` is more than 0 while Redis' clock is behind the last time that the event has seen.
    """

    terms: str | None
    size: int | None
    mends: int
    pages: list[Counted]
    ahead_ms: int


class StoredBooks(Struct, frozen=True):
    """An event in one snapshot of PostgreSQL.

    `held` is what each account holds, by the name of its counter; `moving` are its rows that changed since the
    counters were read, or that Redis lists as unpersisted. A `closed` event has no counters in Redis.
    """

    event_id: UUID
    terms: str
    capacity: int
    pool_size: int
    pool_taken: int
    held: dict[str, int]
    moving: dict[UUID, Booking]
    closed: bool = False


class Move(Struct, frozen=True):
    """A booking on its way: since when it held its places, until when, and whether PostgreSQL counts it."""

    user_id: UUID
    quantity: int
    from_ms: int
    until_ms: int | None
    counted: bool

    def correction(self, at_ms: int) -> int:
        """What to add to PostgreSQL's count to know the places held at `at_ms`."""
        held = self.from_ms <= at_ms and (self.until_ms is None or at_ms < self.until_ms)
        return (held - self.counted) * self.quantity


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
    """What is wrong with an event's books, or seems to be: only what two readings agree on is.

    `until_ms` is Redis' clock after everything was read. While the clock is behind moments that the books know,
    counters are not compared: which changes they contain cannot be told.
    """
    if stored.closed:
        return list(_stored_differences(stored))
    if counters.terms is None:
        return [Difference(stored.event_id, Fault.UNINSTALLED, "terms", 0, 1)]
    found = list(_stored_differences(stored))
    if counters.terms != stored.terms or counters.size != stored.capacity:
        found.append(Difference(stored.event_id, Fault.TERMS_DIFFER, "terms", counters.size or 0, stored.capacity))
    moving = moves(unpersisted, stored)
    if not clock_is_behind(counters, moving, until_ms=until_ms):
        found += _counter_differences(counters, moving, stored)
    return found


def clock_is_behind(counters: CounterBooks, moving: Iterable[Move], *, until_ms: int) -> bool:
    """Whether Redis' clock was set back: something happened later than when the last of these was read."""
    if counters.ahead_ms > 0 or any(page.at_ms > until_ms for page in counters.pages):
        return True
    return any(move.from_ms > until_ms or (move.until_ms or 0) > until_ms for move in moving)


def _counter_differences(counters: CounterBooks, moving: list[Move], stored: StoredBooks) -> Iterable[Difference]:
    """Counters that say another number than bookings: what is held is added up once, what moves for each page."""
    held = stored.held | {POOL_MAIN: sum(stored.held.values())}
    shift = _shift(moving, at_ms=0)
    seen: set[str] = set()
    for page in counters.pages:
        shift = _shift(moving, at_ms=page.at_ms)
        seen |= page.taken.keys()
        for counter, taken in page.taken.items():
            expected = held.get(counter, 0) + shift.get(counter, 0)
            if taken != expected:
                yield _counter_difference(stored.event_id, counter, taken, expected)
    for counter in held | shift:
        expected = held.get(counter, 0) + shift.get(counter, 0)
        if expected and counter not in seen:
            yield _counter_difference(stored.event_id, counter, 0, expected)


def confirmed(first: Iterable[Difference], second: Iterable[Difference]) -> list[Difference]:
    """What two readings agree on; a booking in flight looks different in each."""
    earlier = {(each.fault, each.subject, each.drift) for each in first}
    return [each for each in second if (each.fault, each.subject, each.drift) in earlier]


def _move(booking: Booking, row: Booking | None) -> Move:
    created_ms = to_ms(booking.created_at)
    until_ms = (
        None if booking.status in HOLDING else to_ms(booking.cancelled_at) if booking.cancelled_at else created_ms
    )
    return Move(
        user_id=booking.user_id,
        quantity=booking.quantity,
        from_ms=created_ms,
        until_ms=until_ms,
        counted=row is not None and row.status is BookingStatus.CONFIRMED,
    )


def _shift(moving: Iterable[Move], *, at_ms: int) -> dict[str, int]:
    """By what every counter should differ at `at_ms` from what PostgreSQL holds; most do not."""
    places: dict[str, int] = defaultdict(int)
    for move in moving:
        correction = move.correction(at_ms)
        places[user_counter(move.user_id)] += correction
        places[POOL_MAIN] += correction
    return places


def _counter_difference(event_id: UUID, counter: str, taken: int, expected: int) -> Difference:
    fault = Fault.COUNTER_TOO_HIGH if taken > expected else Fault.COUNTER_TOO_LOW
    return Difference(event_id, fault, counter, taken, expected)


def _stored_differences(stored: StoredBooks) -> Iterable[Difference]:
    booked = sum(stored.held.values())
    if stored.pool_taken != booked:
        yield Difference(stored.event_id, Fault.POOL_MISCOUNTED, POOL_MAIN, stored.pool_taken, booked)
    if stored.pool_size != stored.capacity:
        yield Difference(stored.event_id, Fault.POOL_RESIZED, POOL_MAIN, stored.pool_size, stored.capacity)
