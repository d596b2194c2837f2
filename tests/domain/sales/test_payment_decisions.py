"""What becomes of the money of a booking, for every state of a payment and its booking."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from domain.kernel.bookings import STORED, BookingStatus
from domain.sales.events import Payment, RefundPolicy
from domain.sales.payments import PaymentState, RefundCause, StoredPayment, StoredPrice, decide, price_of

RECEIVED, APPLIED, RETURNED = PaymentState
NONE, FULL = RefundPolicy


def payment(state=RECEIVED, **fields):
    values = {
        "id": uuid4(),
        "provider": Payment.EXTERNAL,
        "reference": "transfer",
        "booking_id": uuid4(),
        "event_id": uuid4(),
        "amount_minor": 1000,
        "currency": "EUR",
        "returned_minor": 0,
        "kept_minor": 0,
        "cause": None,
        "owner_refund": NONE,
        "created_at": datetime.now(UTC),
    }
    return StoredPayment(state=state, **values | fields)


def stored(status, **fields):
    values = {
        "version": 3,
        "total_minor": 1000,
        "confirmed": status is BookingStatus.CONFIRMED,
        "reason": None,
        "reduced_by": None,
        "owner_refund": NONE,
    }
    return StoredPrice(status=status, **values | fields)


def told(decision):
    return decision and (decision.state, decision.returned_minor, decision.kept_minor, decision.cause)


@pytest.mark.parametrize("state", [RECEIVED, APPLIED])
@pytest.mark.parametrize("status", [BookingStatus.HELD, BookingStatus.EXPIRED])
def test_a_hold_decides_nothing(state, status):
    assert decide(payment(state), stored(status)) is None


@pytest.mark.parametrize("status", sorted(STORED))
def test_a_returned_payment_is_never_decided_again(status):
    gone = payment(RETURNED, returned_minor=1000, cause=RefundCause.LATE)

    assert decide(gone, stored(status)) is None


@pytest.mark.parametrize(
    ("booking", "expected"),
    [
        (stored(BookingStatus.CONFIRMED), (APPLIED, 0, 0, None)),
        (stored(BookingStatus.CONFIRMED, total_minor=900), (APPLIED, 100, 0, RefundCause.REDUCED)),
        (stored(BookingStatus.CANCELLED), (RETURNED, 1000, 0, RefundCause.NOT_PAYABLE)),
        (stored(BookingStatus.REJECTED), (RETURNED, 1000, 0, RefundCause.NOT_PAYABLE)),
        (stored(BookingStatus.CANCELLED, confirmed=True), (APPLIED, 0, 1000, RefundCause.CANCELLED)),
        (stored(BookingStatus.CANCELLED, confirmed=True, total_minor=900), (APPLIED, 100, 900, RefundCause.CANCELLED)),
        (
            stored(BookingStatus.CANCELLED, confirmed=True, reason="event_cancelled"),
            (APPLIED, 1000, 0, RefundCause.CANCELLED),
        ),
    ],
)
def test_a_received_payment_pays_for_what_was_confirmed(booking, expected):
    assert told(decide(payment(), booking)) == expected


@pytest.mark.parametrize(
    ("then", "now", "reason", "back"),
    [
        (NONE, NONE, None, 0),
        (FULL, NONE, None, 1000),
        (NONE, FULL, None, 1000),
        (NONE, NONE, "cancelled_by_organizer", 1000),
        (NONE, NONE, "cancelled_by_admin", 1000),
        (NONE, NONE, "event_cancelled", 1000),
    ],
)
def test_an_owner_has_the_better_policy_of_two_and_whoever_else_cancels_returns_all(then, now, reason, back):
    booking = stored(BookingStatus.CANCELLED, confirmed=True, reason=reason, owner_refund=now)

    decision = decide(payment(APPLIED, owner_refund=then), booking)

    assert (decision.returned_minor, decision.kept_minor) == (back, 1000 - back)


@pytest.mark.parametrize(
    ("reduced_by", "policy", "back"), [(None, NONE, 0), ("owner", NONE, 0), ("owner", FULL, 400), ("admin", NONE, 400)]
)
def test_a_reduced_booking_gives_back_what_its_tickets_cost(reduced_by, policy, back):
    booking = stored(BookingStatus.CONFIRMED, total_minor=600, reduced_by=reduced_by, owner_refund=policy)

    decision = decide(payment(APPLIED), booking)

    assert (decision.returned_minor, decision.kept_minor) == (back, 400 - back)


def test_nothing_is_decided_twice():
    booking = stored(BookingStatus.CANCELLED, confirmed=True, reason="event_cancelled")

    assert decide(payment(APPLIED, returned_minor=1000), booking) is None
    assert decide(payment(APPLIED, kept_minor=1000), booking) is None


_STEPS = st.lists(
    st.tuples(st.integers(0, 1000), st.sampled_from([None, "owner", "admin"]), st.sampled_from(RefundPolicy)),
    max_size=5,
)
_ENDS = st.sampled_from([BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED, BookingStatus.HELD])


@settings(max_examples=200)
@given(paid=st.integers(1, 1500), steps=_STEPS, end=_ENDS, reason=st.sampled_from([None, "event_cancelled"]))
def test_every_minor_unit_is_confirmed_returned_or_kept_after_any_changes(paid, steps, end, reason):
    money, total, version = payment(amount_minor=paid), min(paid, 1000), 2
    changes = [(total, None, NONE), *steps]

    for less, by, policy in changes:
        total, version = min(total, less), version + 1
        money = applied(money, decide(money, stored(BookingStatus.CONFIRMED, **_at(version, total, by, policy))))
    last = stored(end, **_at(version + 1, total, None, NONE) | {"reason": reason, "confirmed": True})
    money = applied(money, decide(money, last))

    standing = total if end in {BookingStatus.CONFIRMED, BookingStatus.HELD} else 0
    assert money.amount_minor == money.returned_minor + money.kept_minor + standing


def _at(version, total, by, policy):
    return {"version": version, "total_minor": total, "reduced_by": by, "owner_refund": policy}


def applied(money, decision):
    if decision is None:
        return money
    return structs.replace(
        money,
        state=decision.state,
        returned_minor=money.returned_minor + decision.returned_minor,
        kept_minor=money.kept_minor + decision.kept_minor,
    )


def test_a_booking_without_a_body_is_free():
    assert [price_of(body).total_minor for body in (None, "", '{"items":[]}', '{"total_minor":5}')] == [0, 0, 0, 5]


def test_every_stored_state_of_a_booking_is_decided_or_left_to_redis():
    undecided = {
        status
        for state, status in product((RECEIVED, APPLIED), STORED)
        if decide(payment(state), stored(status)) is None
    }

    assert undecided == {BookingStatus.HELD, BookingStatus.EXPIRED, BookingStatus.CONFIRMED}
