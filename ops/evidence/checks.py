"""The independent checker of the books. Each check is a function from the evidence of a run to its violations."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from typing import TYPE_CHECKING

from domain.kernel.counters import user_counter
from domain.sales.events import ROOM
from ops.evidence.answers import EVERYBODY_LEFT, NO_ANSWER, Kind, Outcome
from ops.evidence.books import is_single
from ops.evidence.checks_of_holds import (
    no_confirmation_is_lost,
    no_expired_hold_is_confirmed,
    no_gate_is_jumped,
    no_hold_outlives_its_deadline,
    no_reduction_is_lost,
)
from ops.evidence.evidence import MISSING, NOT_FOUND, Extremes, Shown, Told

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ops.evidence.answers import Answer
    from ops.evidence.books import EventCounts
    from ops.evidence.evidence import Evidence

RANKS = {"held": 0, "expired": 0, "pending": 1, "confirmed": 2, "rejected": 3, "cancelled": 3}
"""The statuses of a booking in the order in which it takes them.

A hold may be told expired and then held: by a clock that was ahead and is set back.
"""

FINAL = frozenset({"confirmed", "cancelled", "rejected"})

ENDS_OF_HOLDS = frozenset({"held", "expired"})
"""Further statuses that the row of a hold may have. `no_hold_outlives_its_deadline` looks at deadlines."""

ALLOWANCE = "user:"
"""The prefix of the counters of tickets that one account holds."""

UNAVAILABLE = frozenset({(503, "unavailable"), (503, "persistence_lagging")})
"""Answers that a request may get while faults happen."""

SOLD_OUT_MEMORY_SECONDS = 1.0
"""How old an answer `sold_out` may be: an API process remembers it for so long unless it hears of a release."""

SHOWN_MAX = 5
"""Violations of one check that are printed; the rest is counted."""


def nothing_is_oversold_in_postgresql(evidence: Evidence) -> list[str]:
    """No count in PostgreSQL was ever seen above an event's capacity."""
    found = []
    for event in evidence.snapshot.events:
        seen = evidence.seen.get(event.event_id, Extremes())
        most = max(evidence.snapshot.sold(event), event.row.taken, seen.postgres_most)
        if most > event.capacity:
            found.append(f"{event.event_id}: {most} of {event.capacity} tickets were sold")
    return found


def nothing_is_oversold_in_redis(evidence: Evidence) -> list[str]:
    """No counter of tickets in Redis was ever seen above an event's capacity or below 0."""
    found = []
    for event in evidence.snapshot.events:
        seen = evidence.seen.get(event.event_id, Extremes())
        most, least = max(event.taken, seen.redis_most), min(event.taken, seen.redis_least)
        if most > event.capacity or least < 0:
            found.append(f"{event.event_id}: between {least} and {most} of {event.capacity} tickets were taken")
    return found


def no_counter_is_oversold(evidence: Evidence) -> list[str]:
    """No counter was ever seen above its size or below 0, by Redis' count, PostgreSQL's or the rows."""
    found = []
    for event in evidence.snapshot.events:
        seen = evidence.seen.get(event.event_id, Extremes()).counters
        rows = Counter({name: row.taken for name, row in event.rows.items()})
        most = Counter(event.counters) | Counter(seen) | rows | evidence.snapshot.confirmed[event.event_id]
        sizes = {name: row.size for name, row in event.rows.items()} | {name: 1 for name in most if is_single(name)}
        for name, taken in most.items():
            size = sizes.get(name, evidence.account_sizes.get(name.partition(":")[0], taken))
            if taken > size:
                found.append(f"{event.event_id}: {taken} of {size} units of {name} were taken")
        found += [
            f"{event.event_id}: {taken} of {name} are taken" for name, taken in event.counters.items() if taken < 0
        ]
    return found


def nobody_is_over_the_limit(evidence: Evidence) -> list[str]:
    """No account holds more tickets of an event than the event allows, by rows or by Redis' counters."""
    found = []
    for event in evidence.snapshot.events:
        most = Counter(event.counters) | evidence.snapshot.confirmed[event.event_id]
        found += [
            f"{name} holds {tickets} tickets, {event.max_per_user} is the limit"
            for name, tickets in most.items()
            if name.startswith(ALLOWANCE) and tickets > event.max_per_user
        ]
    return found


def no_confirmed_booking_is_lost(evidence: Evidence) -> list[str]:
    """A booking that was called confirmed has a confirmed row, or a cancelled one if its buyer asked for that."""
    confirmed = {answer.booking for answer in evidence.answers if answer.booking and answer.state == "confirmed"}
    confirmed |= {booking for booking, told in evidence.told.items() if told.status == "confirmed"}
    cancelled = evidence.asked_to_cancel
    return [
        f"confirmed booking {booking} is {status}"
        for booking in confirmed
        for status in [evidence.status_of(booking)]
        if status != "confirmed" and (booking not in cancelled or status != "cancelled")
    ]


def no_accepted_booking_is_lost(evidence: Evidence) -> list[str]:
    """An accepted booking has a row in a final status: confirmed, rejected with a reason, or cancelled on request.

    A hold may also be held or expired.
    """
    if evidence.redis_was_lost:
        return []
    cancelled = evidence.asked_to_cancel
    found = []
    for booking in evidence.accepted:
        status = evidence.status_of(booking)
        ends = FINAL | ENDS_OF_HOLDS if evidence.accepted[booking].hold_ms else FINAL
        if status not in ends or (status == "cancelled" and booking not in cancelled):
            found.append(f"accepted booking {booking} is {status}")
        elif status == "rejected" and not evidence.snapshot.rows[booking].reason:
            found.append(f"rejected booking {booking} has no reason")
    return found


def no_cancellation_is_lost(evidence: Evidence) -> list[str]:
    """A booking that was called cancelled, or whose cancellation succeeded, has a cancelled row.

    A hold that is given back after its deadline is told that it has expired.
    """
    if evidence.redis_was_lost:
        return []
    cancelled = {
        answer.booking
        for answer in evidence.answers
        if answer.state == "cancelled" or (answer.outcome is Outcome.CANCEL and answer.state != "expired")
    }
    return [
        f"cancelled booking {booking} is {evidence.status_of(booking)}"
        for booking in cancelled
        if booking and evidence.status_of(booking) != "cancelled"
    ]


def nobody_is_rejected(evidence: Evidence) -> list[str]:
    """PostgreSQL refused no booking that was accepted in the run: what was sold was there."""
    if evidence.redis_was_lost:
        return []
    rows = [evidence.snapshot.rows[booking] for booking in evidence.accepted if booking in evidence.snapshot.rows]
    return [f"booking {row.id} was rejected: {row.reason}" for row in rows if row.status == "rejected"]


def one_booking_per_key(evidence: Evidence) -> list[str]:
    """An account's idempotency key names one booking, however often it was sent."""
    named: dict[tuple[UUID, str], set[UUID]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.accepted and answer.key and answer.booking:
            named[answer.buyer, answer.key].add(answer.booking)
    return [f"{buyer}: key {key} named {len(ids)} bookings" for (buyer, key), ids in named.items() if len(ids) > 1]


def every_row_was_asked_for(evidence: Evidence) -> list[str]:
    """Each row follows from a key that was sent, and has the buyer, event and quantity of that request.

    A booking that was reduced may have the quantity of one of its reductions.
    """
    asked = {answer.subject: answer for answer in evidence.answers if answer.ordered}
    kept = {(answer.subject, answer.kept) for answer in evidence.answers if answer.kind is Kind.REDUCE}
    found = []
    for row in evidence.snapshot.rows.values():
        order = asked.get(row.id)
        if order is None:
            found.append(f"nobody asked for booking {row.id}")
        elif (order.buyer, order.event) != (row.user_id, row.event_id) or (
            row.quantity != order.quantity and (row.id, row.quantity) not in kept
        ):
            found.append(f"booking {row.id} is not what was asked for")
    return found


def no_status_goes_back(evidence: Evidence) -> list[str]:
    """After an answer with a booking's status, later requests get that status or a later one."""
    if evidence.redis_was_lost:
        return []
    found = []
    for booking, told in _with_a_status(evidence.answers).items():
        told.sort(key=lambda answer: answer.sent_s)
        heard = deque(sorted(told, key=lambda answer: answer.answered_s))
        highest = 0
        for answer in told:
            while heard and heard[0].answered_s < answer.sent_s:
                highest = max(highest, _rank(heard.popleft()))
            if _rank(answer) < highest:
                found.append(f"booking {booking} went back to {answer.state}")
    return found


def no_retry_is_refused(evidence: Evidence) -> list[str]:
    """Once a key was accepted it is never refused, and its booking never unknown."""
    if evidence.redis_was_lost:
        return []
    accepted_s: dict[UUID | None, float] = {}
    for answer in evidence.answers:
        if answer.accepted:
            accepted_s[answer.subject] = min(answer.answered_s, accepted_s.get(answer.subject, answer.answered_s))
    return [
        f"booking {answer.subject} was answered {answer.status} {answer.code} after it was accepted"
        for answer in evidence.answers
        if answer.conclusive and not answer.state and answer.outcome is not Outcome.HOLD_OVER
        if accepted_s.get(answer.subject, answer.sent_s) < answer.sent_s
    ]


def every_answer_is_expected(evidence: Evidence) -> list[str]:
    """Each request was answered as the contract says; while faults happen, also with 503 or not at all."""
    odd: Counter[tuple[Kind, int, str | None]] = Counter()
    for answer in evidence.answers:
        excused = evidence.faults and (answer.status == NO_ANSWER or (answer.status, answer.code) in UNAVAILABLE)
        lost = evidence.redis_was_lost and answer.status == NOT_FOUND
        if answer.outcome is Outcome.FAILED and not excused and not lost:
            odd[answer.kind, answer.status, answer.code] += 1
    return [f"{count} times {kind} was answered {status} {code or ''}" for (kind, status, code), count in odd.items()]


def redis_and_rows_agree(evidence: Evidence) -> list[str]:
    """Redis' counters and its records of persisted bookings are what the rows say."""
    snapshot = evidence.snapshot
    return snapshot.counter_differences(snapshot.confirmed) + snapshot.record_differences()


def counters_and_rows_agree(evidence: Evidence) -> list[str]:
    """PostgreSQL's own count of each counter is that of the rows, and the size of tickets is the event's capacity."""
    return evidence.snapshot.row_differences()


def money_adds_up(evidence: Evidence) -> list[str]:
    """Of each booking, what was paid is what was refunded, is due, is confirmed, or was kept."""
    return evidence.snapshot.money_differences()


def nothing_is_left_to_persist(evidence: Evidence) -> list[str]:
    """Redis lists nothing as unpersisted, and no intent is left that was not carried out."""
    left = {"unpersisted bookings": len(evidence.snapshot.unpersisted), "intents": evidence.snapshot.intents}
    return [f"{count} {what} are left" for what, count in left.items() if count]


def the_books_never_drifted(evidence: Evidence) -> list[str]:
    """Reconciliation found no difference, neither in the course of the run nor at its end."""
    faults = Counter(repair.fault for repair in evidence.repairs)
    found = [f"{count} times reconciliation found {fault}" for fault, count in faults.items()]
    return found + ([f"{evidence.differences} differences are left"] if evidence.differences else [])


def the_audit_agrees(evidence: Evidence) -> list[str]:
    """The engine's own audit finds every event in order, with the numbers that the rows give."""
    if evidence.audited is None:
        return ["the audit could not be made"]
    found = []
    for books in evidence.audited:
        sold = evidence.snapshot.confirmed[books.event_id][ROOM]
        counted = (books.confirmed, books.pending, books.remaining)
        if not books.in_order or counted != (sold, 0, books.size - sold):
            words = "{} confirmed, {} pending, {} remaining".format(*counted)
            found.append(
                f"{books.event_id}: the audit counts {words}, {'in order' if books.in_order else 'with drift'}"
            )
    return found


def the_api_and_rows_agree(evidence: Evidence) -> list[str]:
    """At the end the API shows of events and bookings what PostgreSQL has."""
    rows = evidence.snapshot.rows
    found = ["the API was asked about no booking"] if rows and not evidence.told else []
    for booking, told in evidence.told.items():
        row = rows.get(booking)
        if told != (Told(row.status, row.reason) if row else Told(MISSING)):
            found.append(f"the API says {told.status} of booking {booking}, its row says {evidence.status_of(booking)}")
    for event in evidence.snapshot.events:
        sold = evidence.snapshot.sold(event)
        shown = evidence.shown.get(event.event_id)
        if shown != Shown(sold, event.capacity - sold):
            found.append(f"{event.event_id}: the API shows {shown}, {sold} of {event.capacity} are sold")
    return found


def everybody_was_answered(evidence: Evidence) -> list[str]:
    """There was something to check, and every client got each answer on which it insisted."""
    found = [] if evidence.accepted else ["no booking was accepted"]
    return found + ([f"{evidence.unanswered} requests were never answered"] if evidence.unanswered else [])


def everybody_had_a_turn(evidence: Evidence) -> list[str]:
    """The run ended by itself, and each of its buyers asked for tickets."""
    found = [] if evidence.ended == EVERYBODY_LEFT else [f"the run was {evidence.ended}"]
    silent = evidence.buyers - {answer.buyer for answer in evidence.answers if answer.ordered}
    return found + ([f"{len(silent)} of {len(evidence.buyers)} buyers never asked for a ticket"] if silent else [])


def all_is_sold_when_demand_exceeds_it(evidence: Evidence) -> list[str]:
    """Without faults: if more is wanted than there is, or a request is refused, exactly the capacity is sold.

    Tickets that were returned after the last refusal may be left.
    """
    if evidence.faults:
        return []
    found = []
    for event in evidence.snapshot.events:
        wanted, unsold = _wanted(evidence, event), event.capacity - evidence.snapshot.sold(event)
        exceeded = wanted > event.capacity or _sold_out(evidence, event)
        if exceeded and unsold > _may_be_left(evidence, event):
            found.append(f"{event.event_id}: {unsold} of {event.capacity} tickets are unsold, {wanted} were wanted")
    return found


def nobody_was_refused_early(evidence: Evidence) -> list[str]:
    """Without faults: before an answer `sold_out`, so many tickets were requested that too few were left."""
    if evidence.faults:
        return []
    first_sent_s: dict[UUID | None, float] = {}
    for answer in evidence.answers:
        if answer.ordered:
            first_sent_s[answer.subject] = min(answer.sent_s, first_sent_s.get(answer.subject, answer.sent_s))
    found = []
    for event in evidence.snapshot.events:
        accepted = [answer for answer in evidence.accepted.values() if answer.event == event.event_id]
        sent = deque(sorted((first_sent_s[answer.subject], answer.quantity) for answer in accepted))
        taken = 0
        for refusal in sorted(_sold_out(evidence, event), key=lambda answer: answer.answered_s):
            while sent and sent[0][0] <= refusal.answered_s:
                taken += sent.popleft()[1]
            if taken + refusal.quantity <= event.capacity:
                found.append(f"{refusal.buyer} was refused {refusal.quantity} when at most {taken} were taken")
    return found


def no_process_gave_up(evidence: Evidence) -> list[str]:
    """No API or worker process ended by itself."""
    return evidence.gave_up


def everything_was_final_in_time(evidence: Evidence) -> list[str]:
    """Soon after the last request, and after the faults, every accepted booking was final."""
    took_s, most_s = evidence.final_s, evidence.final_s_max
    if took_s is None:
        return ["accepted bookings never were final"]
    return [f"the last booking was final after {took_s:.1f} s, not {most_s:.0f}"] if took_s > most_s else []


CHECKS: tuple[Callable[[Evidence], list[str]], ...] = (
    nothing_is_oversold_in_postgresql,
    nothing_is_oversold_in_redis,
    no_counter_is_oversold,
    nobody_is_over_the_limit,
    no_confirmed_booking_is_lost,
    no_accepted_booking_is_lost,
    no_cancellation_is_lost,
    no_confirmation_is_lost,
    no_reduction_is_lost,
    no_expired_hold_is_confirmed,
    no_gate_is_jumped,
    no_hold_outlives_its_deadline,
    nobody_is_rejected,
    one_booking_per_key,
    every_row_was_asked_for,
    no_status_goes_back,
    no_retry_is_refused,
    every_answer_is_expected,
    redis_and_rows_agree,
    counters_and_rows_agree,
    money_adds_up,
    nothing_is_left_to_persist,
    the_books_never_drifted,
    the_audit_agrees,
    the_api_and_rows_agree,
    everybody_was_answered,
    everybody_had_a_turn,
    all_is_sold_when_demand_exceeds_it,
    nobody_was_refused_early,
    no_process_gave_up,
    everything_was_final_in_time,
)
"""All checks, in the order in which they are printed."""


def check(evidence: Evidence) -> dict[str, list[str]]:
    """The violations that each check finds, by the name of the check; empty lists if every promise was kept."""
    return {each.__name__: each(evidence) for each in CHECKS}


def verdict(found: dict[str, list[str]]) -> str:
    """A line for each check, and for the first violations of each."""
    lines = []
    for name, violations in found.items():
        lines.append(f"{'FAIL' if violations else 'ok  '}  {name.replace('_', ' ')}")
        lines += [f"        {violation}" for violation in violations[:SHOWN_MAX]]
        if len(violations) > SHOWN_MAX:
            lines.append(f"        and {len(violations) - SHOWN_MAX} more")
    return "\n".join(lines)


def _with_a_status(answers: list[Answer]) -> dict[UUID | None, list[Answer]]:
    """Answers with the status of a booking, by booking."""
    found: dict[UUID | None, list[Answer]] = defaultdict(list)
    for answer in answers:
        if answer.state:
            found[answer.subject].append(answer)
    return found


def _rank(answer: Answer) -> int:
    return RANKS[answer.state or ""]


def _sold_out(evidence: Evidence, event: EventCounts) -> list[Answer]:
    return [answer for answer in _orders(evidence, event) if answer.code == "sold_out"]


def _orders(evidence: Evidence, event: EventCounts) -> list[Answer]:
    return [answer for answer in evidence.answers if answer.kind is Kind.BOOK and answer.event == event.event_id]


def _wanted(evidence: Evidence, event: EventCounts) -> int:
    """Tickets wanted: the most each account asked for at once or holds, without those who gave theirs back."""
    claimed = evidence.snapshot.confirmed[event.event_id]
    wanted = Counter({name: units for name, units in claimed.items() if name.startswith(ALLOWANCE)})
    for answer in _orders(evidence, event):
        name = user_counter(answer.buyer)
        wanted[name] = max(wanted[name], min(answer.quantity, event.max_per_user))
    for answer in evidence.answers:
        if answer.kind is Kind.CANCEL and answer.event == event.event_id:
            del wanted[user_counter(answer.buyer)]
    return wanted.total()


def _may_be_left(evidence: Evidence, event: EventCounts) -> int:
    """The most tickets that may be left though a request was refused: one less than requested, or returned later."""
    rows = evidence.snapshot.rows
    returned = [
        (answer.answered_s, rows[answer.booking].quantity)
        for answer in evidence.answers
        if answer.kind is Kind.CANCEL and answer.booking in rows
    ]
    may_be_left = []
    for refusal in _sold_out(evidence, event):
        since_s = refusal.sent_s - SOLD_OUT_MEMORY_SECONDS
        may_be_left.append(refusal.quantity - 1 + sum(count for at_s, count in returned if at_s >= since_s))
    return min(may_be_left, default=0)
