"""After a run: nothing oversold, nothing lost. Each check is a function from the evidence to its violations."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from domain.kernel.partitions import booking_id_for_key
from loadtests.sales.answers import EVERYBODY_LEFT, Kind, Outcome
from loadtests.sales.evidence import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from loadtests.sales.answers import Answer
    from loadtests.sales.evidence import Evidence

SHOWN_MAX = 5
"""Violations of one check that are printed; the rest is counted."""

SOLD_OUT_MEMORY_SECONDS = 1.0
"""How old an answer `sold_out` may be: an API process remembers it for so long unless it hears of a release."""


def nothing_is_oversold(evidence: Evidence) -> list[str]:
    """No count of sold tickets, wherever it is kept, is above the event's capacity."""
    counts = {
        "confirmed rows": evidence.sold,
        "PostgreSQL's pool": evidence.pool_taken,
        "Redis' counter": evidence.counters.pool,
    }
    over = {where: count for where, count in counts.items() if count > evidence.capacity}
    return [f"{where}: {count} tickets of {evidence.capacity}" for where, count in over.items()]


def all_is_sold_when_demand_exceeds_it(evidence: Evidence) -> list[str]:
    """With more wanted than there is, or somebody refused, exactly the capacity is sold.

    Tickets that came back after the last refusal may be left: nobody was there to want them.
    """
    unsold, wanted = evidence.capacity - evidence.sold, _wanted(evidence)
    exceeded = wanted > evidence.capacity or _sold_out(evidence)
    if not exceeded or unsold <= _may_be_left(evidence):
        return []
    return [f"{unsold} tickets are unsold of {evidence.capacity}, though {wanted} were wanted"]


def nobody_was_refused_early(evidence: Evidence) -> list[str]:
    """Whoever heard `sold_out` heard it when requests for too many tickets to leave theirs had been sent."""
    first_sent_s: dict[str, float] = {}
    for answer in evidence.answers:
        if answer.kind is Kind.BOOK and answer.key:
            first_sent_s[answer.key] = min(answer.sent_s, first_sent_s.get(answer.key, answer.sent_s))
    sent = deque(sorted((first_sent_s[answer.key or ""], answer.quantity) for answer in evidence.accepted.values()))
    taken, violations = 0, []
    for refusal in sorted(_sold_out(evidence), key=lambda answer: answer.answered_s):
        while sent and sent[0][0] <= refusal.answered_s:
            taken += sent.popleft()[1]
        if taken + refusal.quantity <= evidence.capacity:
            violations.append(f"{refusal.buyer} was refused {refusal.quantity} when at most {taken} were taken")
    return violations


def no_buyer_is_over_the_limit(evidence: Evidence) -> list[str]:
    """No account holds more than the event lets one hold, by rows or by Redis' counters."""
    most = Counter(evidence.counters.users) | evidence.held
    return [
        f"{buyer} holds {tickets} tickets, {evidence.max_per_user} is the limit"
        for buyer, tickets in most.items()
        if tickets > evidence.max_per_user
    ]


def every_acceptance_is_final(evidence: Evidence) -> list[str]:
    """Each booking that was accepted is confirmed, cancelled, or rejected with a reason."""
    violations = []
    for booking in evidence.accepted:
        told = evidence.told.get(booking)
        status = told.status if told else MISSING
        if status not in {"confirmed", "cancelled", "rejected"}:
            violations.append(f"accepted booking {booking} is {status}")
        elif status == "rejected" and not (told and told.reason):
            violations.append(f"rejected booking {booking} has no reason")
    return violations


def every_confirmed_booking_has_one_row(evidence: Evidence) -> list[str]:
    """What was called confirmed, to its buyer or to us, is one row, with that buyer and quantity."""
    confirmed = {answer.booking for answer in evidence.answers if answer.booking and answer.state == "confirmed"}
    confirmed |= {booking for booking, told in evidence.told.items() if told.status == "confirmed"}
    rows = defaultdict(list)
    for row in evidence.rows:
        rows[row.id].append(row)
    violations = [
        f"confirmed booking {booking} has {len(rows[booking])} rows" for booking in confirmed if len(rows[booking]) != 1
    ]
    for booking, answer in evidence.accepted.items():
        violations += [
            f"booking {booking} is another buyer's or another quantity than was accepted"
            for row in rows[booking]
            if (row.user_id, row.quantity) != (answer.buyer, answer.quantity)
        ]
    return violations


def one_booking_per_key(evidence: Evidence) -> list[str]:
    """A key names one booking, however often it was sent."""
    named: dict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.key and answer.booking and answer.outcome in {Outcome.ACCEPTED, Outcome.REPLAYED}:
            named[answer.buyer, answer.key].add(answer.booking)
    return [f"{buyer}: key {key} named {len(ids)} bookings" for (buyer, key), ids in named.items() if len(ids) > 1]


def every_row_was_asked_for(evidence: Evidence) -> list[str]:
    """There is no booking that follows from none of the keys that were sent."""
    asked = {
        booking_id_for_key(account_id=answer.buyer, idempotency_key=answer.key, event_id=evidence.event_id)
        for answer in evidence.answers
        if answer.kind is Kind.BOOK and answer.key
    }
    return [f"nobody asked for booking {row.id}" for row in evidence.rows if row.id not in asked]


def every_cancelled_booking_stays_cancelled(evidence: Evidence) -> list[str]:
    """What was answered `cancelled` is, in PostgreSQL."""
    status = {row.id: row.status for row in evidence.rows}
    return [
        f"cancelled booking {answer.booking} is {status.get(answer.booking, MISSING)}"
        for answer in evidence.answers
        if answer.outcome is Outcome.CANCEL and answer.booking and status.get(answer.booking) != "cancelled"
    ]


def redis_and_rows_agree(evidence: Evidence) -> list[str]:
    """Counters in Redis, of the pool and of each account, are what the rows add up to."""
    violations = []
    if evidence.counters.pool != evidence.sold:
        violations.append(f"Redis counts {evidence.counters.pool} tickets, the rows {evidence.sold}")
    held = evidence.held
    for buyer in held.keys() | evidence.counters.users.keys():
        counted = evidence.counters.users.get(buyer, 0)
        if counted != held[buyer]:
            violations.append(f"Redis counts {counted} tickets of {buyer}, the rows {held[buyer]}")
    return violations


def the_pool_and_rows_agree(evidence: Evidence) -> list[str]:
    """PostgreSQL's own count of taken places, and their number, are the rows' and the event's."""
    violations = []
    if evidence.pool_taken != evidence.sold:
        violations.append(f"the pool counts {evidence.pool_taken} tickets, the rows {evidence.sold}")
    if evidence.pool_size != evidence.capacity:
        violations.append(f"the pool has {evidence.pool_size} tickets, the event {evidence.capacity}")
    return violations


def the_api_and_rows_agree(evidence: Evidence) -> list[str]:
    """The API shows of the event and of each booking what PostgreSQL has."""
    violations = []
    shown = (evidence.shown_booked, evidence.shown_remaining)
    if shown != (evidence.sold, evidence.capacity - evidence.sold):
        violations.append(f"the API shows {shown[0]} booked and {shown[1]} remaining, the rows have {evidence.sold}")
    status = {row.id: row.status for row in evidence.rows}
    violations += [
        f"the API says {told.status} of booking {booking}, its row says {status.get(booking, MISSING)}"
        for booking, told in evidence.told.items()
        if told.status != status.get(booking, MISSING)
    ]
    return violations


def nothing_is_left_to_persist(evidence: Evidence) -> list[str]:
    """When the buyers have left, the unpersisted set becomes empty."""
    left = evidence.counters.unpersisted
    return [f"{left} changes are not in PostgreSQL"] if left else []


def the_audit_agrees(evidence: Evidence) -> list[str]:
    """The engine's own audit finds no drift, and the numbers that the rows give."""
    books = evidence.books
    violations = [] if books.in_order else ["the audit found drift"]
    counted = (books.confirmed, books.pending, books.remaining)
    if counted != (evidence.sold, 0, evidence.capacity - evidence.sold):
        violations.append("the audit counts {} confirmed, {} pending, {} remaining".format(*counted))
    return violations


def no_request_failed(evidence: Evidence) -> list[str]:
    """Every request got an answer that the contract has for it."""
    failed = Counter(
        (answer.kind, answer.status, answer.code) for answer in evidence.answers if answer.outcome is Outcome.FAILED
    )
    return [
        f"{count} times {kind} was answered {status} {code or ''}" for (kind, status, code), count in failed.items()
    ]


def everybody_had_a_turn(evidence: Evidence) -> list[str]:
    """The run ended by itself, and each of its buyers had asked for tickets."""
    violations = [] if evidence.ended == EVERYBODY_LEFT else [f"the run was {evidence.ended}"]
    silent = evidence.buyers - {answer.buyer for answer in evidence.answers if answer.kind is Kind.BOOK}
    if silent:
        violations.append(f"{len(silent)} of {len(evidence.buyers)} buyers never asked for a ticket")
    return violations


CHECKS: tuple[Callable[[Evidence], list[str]], ...] = (
    nothing_is_oversold,
    all_is_sold_when_demand_exceeds_it,
    nobody_was_refused_early,
    no_buyer_is_over_the_limit,
    every_acceptance_is_final,
    every_confirmed_booking_has_one_row,
    one_booking_per_key,
    every_row_was_asked_for,
    every_cancelled_booking_stays_cancelled,
    redis_and_rows_agree,
    the_pool_and_rows_agree,
    the_api_and_rows_agree,
    nothing_is_left_to_persist,
    the_audit_agrees,
    no_request_failed,
    everybody_had_a_turn,
)
"""All of them, in the order they are printed."""


def verify(evidence: Evidence) -> dict[str, list[str]]:
    """The violations each check finds, by its name; empty lists everywhere when all is well."""
    return {check.__name__: check(evidence) for check in CHECKS}


def verdict(found: dict[str, list[str]]) -> str:
    """What `verify` found, a line for each check and for the first violations of each."""
    lines = []
    for name, violations in found.items():
        lines.append(f"{'FAIL' if violations else 'ok  '}  {name.replace('_', ' ')}")
        lines += [f"        {violation}" for violation in violations[:SHOWN_MAX]]
        if len(violations) > SHOWN_MAX:
            lines.append(f"        and {len(violations) - SHOWN_MAX} more")
    return "\n".join(lines)


def _sold_out(evidence: Evidence) -> list[Answer]:
    return [answer for answer in evidence.answers if answer.kind is Kind.BOOK and answer.code == "sold_out"]


def _wanted(evidence: Evidence) -> int:
    """Tickets wanted: the most each account asked for at once or holds, without those who gave theirs back."""
    wanted = Counter(evidence.held)
    for answer in evidence.answers:
        if answer.kind is Kind.BOOK:
            wanted[answer.buyer] = max(wanted[answer.buyer], min(answer.quantity, evidence.max_per_user))
    for answer in evidence.answers:
        if answer.kind is Kind.CANCEL:
            del wanted[answer.buyer]
    return wanted.total()


def _may_be_left(evidence: Evidence) -> int:
    """The most tickets that may be left though somebody was refused: one less than wanted, or returned later."""
    quantity = {row.id: row.quantity for row in evidence.rows}
    returned = [
        (answer.answered_s, quantity.get(answer.booking, 0))
        for answer in evidence.answers
        if answer.kind is Kind.CANCEL and answer.booking
    ]
    may_be_left = []
    for refusal in _sold_out(evidence):
        since_s = refusal.sent_s - SOLD_OUT_MEMORY_SECONDS
        may_be_left.append(refusal.quantity - 1 + sum(count for at_s, count in returned if at_s >= since_s))
    return min(may_be_left, default=0)
