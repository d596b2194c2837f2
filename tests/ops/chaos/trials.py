"""A small trial in perfect order, for tests to plant a violation in."""

from __future__ import annotations

from uuid import UUID

from ops.chaos.answers import Answer, Kind, Order
from ops.chaos.evidence import Books, Evidence, Row, id_of
from ops.chaos.watch import Sight

EVENT = UUID("0e0e0e0e-0000-4000-8000-000000000001")
CAPACITY = 5
ALLOWANCE = 3

ANN, BEN, CID = (UUID(int=number, version=4) for number in (1, 2, 3))
"""Ann books two and keeps them; Ben books three and cancels; Cid, who comes then, is refused first and gets two."""

TOOK_S = 0.01


def order_of(buyer: UUID) -> Order:
    """The one order of each."""
    return Order(buyer, EVENT, f"{buyer.hex}-1", {ANN: 2, BEN: 3, CID: 2}[buyer])


def booking_of(buyer: UUID) -> UUID:
    return id_of(order_of(buyer))


def answer(kind: Kind, buyer: UUID, *, second: float, **fields: object) -> Answer:
    """An answer about the buyer's order, asked at that second."""
    known = {"order": order_of(buyer), "booking": booking_of(buyer), "sent_s": second, "answered_s": second + TOOK_S}
    return Answer(**{"kind": kind, **known, **fields})


def accepted(buyer: UUID, *, second: float, state: str = "pending") -> Answer:
    return answer(Kind.BOOK, buyer, second=second, status=202, state=state)


def told(buyer: UUID, state: str, *, second: float) -> Answer:
    return answer(Kind.POLL, buyer, second=second, status=200, state=state)


def cancelled(buyer: UUID, *, second: float) -> Answer:
    return answer(Kind.CANCEL, buyer, second=second, status=200, state="cancelled")


def refused(buyer: UUID, *, second: float, status: int = 409, code: str = "sold_out") -> Answer:
    return answer(Kind.BOOK, buyer, second=second, status=status, code=code, booking=None)


def row(buyer: UUID, status: str = "confirmed", **fields: object) -> Row:
    known = {"id": booking_of(buyer), "event_id": EVENT, "user_id": buyer, "quantity": order_of(buyer).quantity}
    return Row(**{**known, "status": status, **fields})


def books_in_order() -> Books:
    return Books(
        event_id=EVENT,
        capacity=CAPACITY,
        max_per_user=ALLOWANCE,
        pool_size=CAPACITY,
        pool_taken=4,
        redis_taken=4,
        redis_users={ANN: 2, BEN: 0, CID: 2},
        sight=Sight(redis_most=5, postgres_most=5, looks=9),
    )


def trial_in_order() -> Evidence:
    return Evidence(
        answers=[
            accepted(ANN, second=0.0),
            answer(Kind.BOOK, BEN, second=0.1),
            accepted(BEN, second=0.2),
            told(ANN, "confirmed", second=0.3),
            refused(CID, second=0.4),
            refused(CID, second=0.5, status=503, code="unavailable"),
            told(BEN, "confirmed", second=0.6),
            answer(Kind.CANCEL, BEN, second=0.7),
            cancelled(BEN, second=0.8),
            accepted(CID, second=0.9),
            accepted(BEN, second=1.0, state="cancelled"),
            told(CID, "confirmed", second=1.1),
        ],
        rows=[row(ANN), row(BEN, "cancelled"), row(CID)],
        books=[books_in_order()],
        told={booking_of(ANN): "confirmed", booking_of(BEN): "cancelled", booking_of(CID): "confirmed"},
        unpersisted=0,
        intents=0,
        repairs=[],
        audit_drift=0,
        unanswered=0,
        gave_up=[],
        to_final_s=0.5,
        to_final_s_max=5.0,
    )
