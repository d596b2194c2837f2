"""A small sale in perfect order, for tests to plant a fault in."""

from __future__ import annotations

from uuid import UUID, uuid4

from domain.kernel.partitions import booking_id_for_key
from loadtests.sales.answers import EVERYBODY_LEFT, Answer, Kind
from loadtests.sales.evidence import Books, Counters, Evidence, Row, Told

EVENT = UUID("0e0e0e0e-0000-4000-8000-000000000001")
OPENED_S = 1_000_000.0
TOOK_MS = 10.0

ANN, BEN, CID, DOT, EVE = (UUID(int=number, version=4) for number in range(1, 6))
"""Ann books two; Ben one, which he gives back; Cid one; Dot is too late; Eve takes what Ben gave back."""


def booking_of(buyer: UUID) -> UUID:
    """The booking of the buyer's one key."""
    return booking_id_for_key(account_id=buyer, idempotency_key=buyer.hex, event_id=EVENT)


def accepted(buyer: UUID, *, second: float, quantity: int = 1) -> Answer:
    return answer(Kind.BOOK, buyer, second=second, status=202, quantity=quantity, state="pending")


def refused(buyer: UUID, *, second: float, quantity: int = 1, code: str = "sold_out") -> Answer:
    return answer(Kind.BOOK, buyer, second=second, status=409, quantity=quantity, code=code, booking=None)


def confirmed(buyer: UUID, *, second: float) -> Answer:
    return answer(Kind.POLL, buyer, second=second, status=200, state="confirmed", key=None)


def cancelled(buyer: UUID, *, second: float) -> Answer:
    return answer(Kind.CANCEL, buyer, second=second, status=200, state="cancelled", key=None)


def answer(kind: Kind, buyer: UUID, *, second: float, **fields: object) -> Answer:
    """An answer about the buyer's one booking, `second` seconds after the opening."""
    known = {"key": buyer.hex, "booking": booking_of(buyer), "took_ms": TOOK_MS}
    return Answer(**{"kind": kind, "buyer": buyer, "sent_s": OPENED_S + second, **known, **fields})


def row(buyer: UUID, *, quantity: int = 1, status: str = "confirmed", reason: str | None = None) -> Row:
    return Row(id=booking_of(buyer), user_id=buyer, quantity=quantity, status=status, reason=reason)


def unasked_row(buyer: UUID) -> Row:
    return Row(id=uuid4(), user_id=buyer, quantity=1, status="confirmed")


def sale_in_order() -> Evidence:
    """Four tickets, two per person at most, five people; all sold, one of them twice."""
    return Evidence(
        event_id=EVENT,
        capacity=4,
        max_per_user=2,
        buyers=frozenset({ANN, BEN, CID, DOT, EVE}),
        ended=EVERYBODY_LEFT,
        answers=[
            accepted(ANN, second=0.0, quantity=2),
            accepted(BEN, second=0.1),
            accepted(CID, second=0.2),
            refused(DOT, second=0.3),
            confirmed(ANN, second=1.0),
            confirmed(BEN, second=1.1),
            cancelled(BEN, second=1.2),
            accepted(EVE, second=3.0),
            refused(DOT, second=4.0),
        ],
        rows=[row(ANN, quantity=2), row(BEN, status="cancelled"), row(CID), row(EVE)],
        told={
            booking_of(ANN): Told("confirmed"),
            booking_of(BEN): Told("cancelled"),
            booking_of(CID): Told("confirmed"),
            booking_of(EVE): Told("confirmed"),
        },
        pool_size=4,
        pool_taken=4,
        shown_remaining=0,
        shown_booked=4,
        counters=Counters(pool=4, users={ANN: 2, BEN: 0, CID: 1, EVE: 1}),
        books=Books(remaining=0, pending=0, confirmed=4, in_order=True),
    )
