"""Checks of bookings that were held, confirmed or reduced. They are run with all others: `checks.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops.evidence.answers import Kind, Outcome
from ops.evidence.books import HOLDING

if TYPE_CHECKING:
    from uuid import UUID

    from ops.evidence.answers import Answer
    from ops.evidence.evidence import Evidence

CONFIRMED = frozenset({"pending", "confirmed"})
"""What a confirmation that succeeded is told."""


def no_confirmation_is_lost(evidence: Evidence) -> list[str]:
    """A hold whose confirmation succeeded has a confirmed row, or a cancelled one if its buyer asked for that."""
    if evidence.redis_was_lost:
        return []
    cancelled = evidence.asked_to_cancel
    confirmed = {answer.subject for answer in evidence.answers if _confirms(answer)}
    return [
        f"the confirmed hold {booking} is {status}"
        for booking in confirmed
        for status in [evidence.status_of(booking)]
        if status != "confirmed" and (status != "cancelled" or booking not in cancelled)
    ]


def no_reduction_is_lost(evidence: Evidence) -> list[str]:
    """A booking whose reduction succeeded has a row with no more tickets than it kept."""
    if evidence.redis_was_lost:
        return []
    kept: dict[UUID | None, int] = {}
    for answer in evidence.answers:
        if answer.outcome is Outcome.REDUCE and answer.state in HOLDING:
            kept[answer.subject] = min(answer.kept, kept.get(answer.subject, answer.kept))
    return [
        f"reduced booking {row.id} has {row.quantity} tickets, not {kept[row.id]}"
        for row in evidence.snapshot.rows.values()
        if row.quantity > kept.get(row.id, row.quantity)
    ]


def no_expired_hold_is_confirmed(evidence: Evidence) -> list[str]:
    """A hold that was told expired is confirmed only by a confirmation that succeeded later or was not answered.

    If Redis has lost a confirmation with a payment, a worker repeats it, perhaps after the deadline.
    """
    last_told_s: dict[UUID | None, float] = {}
    last_confirmed_s: dict[UUID | None, float] = {}
    for answer in evidence.answers:
        if answer.state == "expired" or answer.code == "hold_expired":
            last_told_s[answer.subject] = max(answer.sent_s, last_told_s.get(answer.subject, 0.0))
        elif _confirms(answer) or (answer.kind is Kind.CONFIRM and not answer.conclusive):
            known = answer.conclusive and not evidence.redis_was_lost
            at_s = answer.answered_s if known else float("inf")
            last_confirmed_s[answer.subject] = max(at_s, last_confirmed_s.get(answer.subject, 0.0))
    return [
        f"hold {booking} was told that it has expired, and is confirmed"
        for booking, told_s in last_told_s.items()
        if evidence.status_of(booking) == "confirmed" and last_confirmed_s.get(booking, 0.0) < told_s
    ]


def no_gate_is_jumped(evidence: Evidence) -> list[str]:
    """A request without the pass got nothing of a counter with a gate, and a late confirmation not again."""
    with_pass = {answer.subject for answer in evidence.answers if answer.ordered and answer.gate_pass}
    gated = {
        row.id
        for row in evidence.snapshot.rows.values()
        if any(units and name in evidence.gates for name, units in row.claims.items())
    }
    found = [f"booking {booking} was made without a pass" for booking in gated - with_pass]
    late = set() if evidence.clocks_were_set else _confirmed_late_without_pass(evidence)
    return found + [f"hold {booking} was confirmed late without a pass" for booking in gated & late]


def no_hold_outlives_its_deadline(evidence: Evidence) -> list[str]:
    """At the end no row is held whose deadline has passed."""
    return [f"hold {row.id} has not expired" for row in evidence.snapshot.rows.values() if row.overdue]


def _confirms(answer: Answer) -> bool:
    """Whether it acknowledges the confirmation of a hold."""
    return answer.kind is Kind.CONFIRM and answer.state in CONFIRMED


def _confirmed_late_without_pass(evidence: Evidence) -> set[UUID]:
    """Holds that were confirmed by a request which was surely late: the hold was answered longer ago than it lasts."""
    confirmed = {answer.subject for answer in evidence.answers if _confirms(answer)}
    first_sent: dict[UUID | None, Answer] = {}
    for answer in evidence.answers:
        if answer.kind in {Kind.CONFIRM, Kind.EXTEND}:
            first_sent.setdefault(answer.subject, answer)
            if answer.sent_s < first_sent[answer.subject].sent_s:
                first_sent[answer.subject] = answer
    return {
        booking
        for booking, hold in evidence.accepted.items()
        if booking in confirmed
        for first in [first_sent[booking]]
        if first.kind is Kind.CONFIRM and not first.gate_pass
        if first.sent_s > hold.answered_s + hold.hold_ms / 1000
    }
