"""Counters are compared with bookings as of one instant, without a stop of sales."""

from __future__ import annotations

from uuid import uuid4

import pytest

from domain.kernel.bookings import Booking, BookingStatus
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.differences import Counted, CounterBooks, CounterRow, Fault, StoredBooks, differences
from domain.kernel.times import from_ms

EVENT, USER = uuid4(), uuid4()
AT_MS = 1_900_000_000_000
SIZES = {POOL_MAIN: 10}


def booking(*, created_ms: int, cancelled_ms: int | None = None, taken_ms: int | None = None) -> Booking:
    return Booking(
        id=uuid4(),
        event_id=EVENT,
        user_id=USER,
        quantity=1,
        status=BookingStatus.CANCELLED if cancelled_ms else BookingStatus.PENDING,
        version=2 if cancelled_ms else 1,
        created_at=from_ms(created_ms),
        cancelled_at=from_ms(cancelled_ms) if cancelled_ms else None,
        taken_at=from_ms(taken_ms) if taken_ms else None,
        claims=f"{user_counter(USER)}=1 {POOL_MAIN}=1",
    )


def found(taken: int, unpersisted: list[Booking]) -> list[tuple[Fault, str, int]]:
    page = Counted(AT_MS, {POOL_MAIN: taken, user_counter(USER): taken})
    stored = StoredBooks(EVENT, "terms", SIZES, {POOL_MAIN: CounterRow(10, 0)}, {}, {})
    read = differences(CounterBooks("terms", SIZES, 0, [page], 0), unpersisted, stored, until_ms=AT_MS + 50)
    return [(each.fault, each.subject, each.drift) for each in read]


@pytest.mark.parametrize("taken", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        {"created_ms": AT_MS},
        {"created_ms": AT_MS - 9, "cancelled_ms": AT_MS},
        {"created_ms": AT_MS, "cancelled_ms": AT_MS},
        {"created_ms": AT_MS, "cancelled_ms": AT_MS + 9},
    ],
)
def test_a_change_in_the_millisecond_of_the_reading_is_no_difference(change, taken):
    assert found(taken, [booking(**change)]) == []


@pytest.mark.parametrize(
    ("change", "held"),
    [
        ({"created_ms": AT_MS - 1}, 1),
        ({"created_ms": AT_MS + 1}, 0),
        ({"created_ms": AT_MS - 9, "cancelled_ms": AT_MS - 1}, 0),
        ({"created_ms": AT_MS - 9, "cancelled_ms": AT_MS + 1}, 1),
    ],
)
def test_a_change_in_another_millisecond_leaves_one_value(change, held):
    assert found(held, [booking(**change)]) == []
    assert {drift for _, _, drift in found(held + 1, [booking(**change)])} == {1}
    assert {drift for _, _, drift in found(held - 1, [booking(**change)])} == {-1}


@pytest.mark.parametrize("taken", [0, 1, 4])
@pytest.mark.parametrize("taken_ms", [AT_MS, AT_MS + 9])
def test_what_a_booking_held_before_it_gave_some_back_is_no_difference(taken_ms, taken):
    """So steady reductions of an event are never taken for units that nobody claims."""
    assert found(taken, [booking(created_ms=AT_MS - 9, taken_ms=taken_ms)]) == []


def test_what_a_booking_holds_since_it_gave_some_back_is_counted():
    reduced = booking(created_ms=AT_MS - 9, taken_ms=AT_MS - 1)

    assert found(1, [reduced]) == []
    assert {drift for _, _, drift in found(2, [reduced])} == {1}
    assert {drift for _, _, drift in found(0, [reduced])} == {-1}


def test_a_booking_that_was_made_and_reduced_after_the_reading_held_nothing():
    reduced = booking(created_ms=AT_MS + 1, taken_ms=AT_MS + 9)

    assert found(0, [reduced]) == []
    assert {drift for _, _, drift in found(1, [reduced])} == {1}


def test_drift_beyond_a_change_in_the_same_millisecond_is_found():
    assert found(3, [booking(created_ms=AT_MS)]) == [
        (Fault.COUNTER_TOO_HIGH, POOL_MAIN, 2),
        (Fault.COUNTER_TOO_HIGH, user_counter(USER), 2),
    ]


def test_a_missing_counter_is_too_low():
    stored = StoredBooks(
        EVENT, "terms", SIZES, {POOL_MAIN: CounterRow(10, 1)}, {POOL_MAIN: 1, user_counter(USER): 1}, {}
    )

    read = differences(CounterBooks("terms", SIZES, 0, [Counted(AT_MS, {})], 0), [], stored, until_ms=AT_MS)

    assert {(each.fault, each.subject, each.drift) for each in read} == {
        (Fault.COUNTER_TOO_LOW, POOL_MAIN, -1),
        (Fault.COUNTER_TOO_LOW, user_counter(USER), -1),
    }


def test_the_size_of_a_counter_that_the_event_has_no_more_is_no_difference():
    stored = StoredBooks(EVENT, "terms", SIZES, {POOL_MAIN: CounterRow(10, 0)}, {}, {})
    counters = CounterBooks("terms", {**SIZES, "pool:vip": 3}, 0, [Counted(AT_MS, {POOL_MAIN: 0, "pool:vip": 0})], 0)

    assert differences(counters, [], stored, until_ms=AT_MS) == []
