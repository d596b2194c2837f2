"""A small run in perfect order, for tests to plant a violation in."""

from __future__ import annotations

from uuid import UUID

from domain.background.audit import EventBooks
from domain.kernel.counters import POOL_MAIN, user_counter
from domain.kernel.partitions import booking_id_for_key
from ops.evidence.answers import Answer, Kind
from ops.evidence.books import CountedRow, EventCounts, Snapshot, StoredBooking
from ops.evidence.evidence import Evidence, Extremes, Shown, Told
from ops.evidence.money import BookingMoney

EVENT = UUID("0e0e0e0e-0000-4000-8000-000000000001")
OPENED_S = 1_000_000.0
TOOK_MS = 10.0
CAPACITY = 4
PER_PERSON = 2

ANN, BEN, CID, DOT, EVE = (UUID(int=number, version=4) for number in range(1, 6))
"""Ann books two; Ben one, which he gives back; Cid one; Dot is too late; Eve takes what Ben gave back."""


def booking_of(buyer: UUID) -> UUID:
    """The booking of the buyer's one key."""
    return booking_id_for_key(account_id=buyer, idempotency_key=buyer.hex, event_id=EVENT)


def answer(kind: Kind, buyer: UUID, *, second: float, **fields: object) -> Answer:
    """An answer about the buyer's one booking, `second` seconds after the opening."""
    known = {"event": EVENT, "key": buyer.hex, "booking": booking_of(buyer), "took_ms": TOOK_MS}
    quantity = 2 if buyer == ANN else 1
    times = {"sent_s": OPENED_S + second, "quantity": quantity}
    return Answer(**{"kind": kind, "buyer": buyer, **known, **times, **fields})


def accepted(buyer: UUID, *, second: float, state: str = "pending", **fields: object) -> Answer:
    return answer(Kind.BOOK, buyer, second=second, status=202, state=state, **fields)


def refused(buyer: UUID, *, second: float, status: int = 409, code: str = "sold_out", quantity: int = 1) -> Answer:
    return answer(Kind.BOOK, buyer, second=second, status=status, code=code, quantity=quantity, booking=None)


def told(buyer: UUID, state: str, *, second: float, **fields: object) -> Answer:
    return answer(Kind.POLL, buyer, second=second, status=200, state=state, key=None, **fields)


def confirmed(buyer: UUID, *, second: float) -> Answer:
    return told(buyer, "confirmed", second=second)


def cancelled(buyer: UUID, *, second: float) -> Answer:
    return answer(Kind.CANCEL, buyer, second=second, status=200, state="cancelled", key=None)


def row(buyer: UUID, status: str = "confirmed", **fields: object) -> StoredBooking:
    quantity = fields.get("quantity", 2 if buyer == ANN else 1)
    claims = {POOL_MAIN: quantity, user_counter(buyer): quantity}
    known = {"id": booking_of(buyer), "event_id": EVENT, "user_id": buyer, "quantity": quantity, "claims": claims}
    return StoredBooking(**{**known, "status": status, **fields})


def money_of(buyer: UUID, **figures: int) -> BookingMoney:
    """The money of the buyer's booking; what is not named is 0."""
    nothing = dict.fromkeys(("paid", "refunds", "returned", "kept", "confirmed"), 0)
    return BookingMoney(**{"booking_id": booking_of(buyer), "undecided": False} | nothing | figures)


def rows_of(*rows: StoredBooking) -> dict[UUID, StoredBooking]:
    return {each.id: each for each in rows}


def counts(**changes: object) -> EventCounts:
    known = {
        "event_id": EVENT,
        "capacity": CAPACITY,
        "max_per_user": PER_PERSON,
        "rows": {POOL_MAIN: CountedRow(CAPACITY, CAPACITY)},
        "counters": {POOL_MAIN: 4, user_counter(ANN): 2, user_counter(CID): 1, user_counter(EVE): 1},
    }
    return EventCounts(**{**known, **changes})


def audited(**changes: object) -> EventBooks:
    known = {"event_id": EVENT, "title": "", "size": CAPACITY, "remaining": 0, "pending": 0, "confirmed": 4, "drift": 0}
    return EventBooks(**{**known, **changes})


def run_in_order() -> Evidence:
    """Four tickets, two per person at most, five people; all sold, one of them twice."""
    return Evidence(
        answers=[
            accepted(ANN, second=0.0),
            accepted(BEN, second=0.1),
            accepted(CID, second=0.2),
            refused(DOT, second=0.3),
            confirmed(ANN, second=1.0),
            confirmed(BEN, second=1.1),
            cancelled(BEN, second=1.2),
            accepted(EVE, second=3.0),
            refused(DOT, second=4.0),
        ],
        final_s=0.5,
        final_s_max=5.0,
        buyers=frozenset({ANN, BEN, CID, DOT, EVE}),
        seen={EVENT: Extremes(redis_most=4, postgres_most=4)},
        snapshot=Snapshot(
            events=[counts()],
            rows=rows_of(row(ANN), row(BEN, "cancelled", version=2), row(CID), row(EVE)),
            records=rows_of(row(BEN, "cancelled", version=2), row(EVE)),
        ),
        told={booking_of(buyer): Told("confirmed") for buyer in (ANN, CID, EVE)} | {booking_of(BEN): Told("cancelled")},
        shown={EVENT: Shown(booked=4, remaining=0)},
        audited=[audited()],
        differences=0,
        repairs=[],
    )
