"""What must be true after any faults. Each check is a function from the evidence to its violations."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from ops.chaos.answers import Answer, Kind
from ops.chaos.evidence import MISSING, Evidence, id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

RANKS = {"pending": 0, "confirmed": 1, "rejected": 2, "cancelled": 2}
"""A booking's states in the order it goes through them."""

FINAL = frozenset({"confirmed", "cancelled", "rejected"})

NOT_FOUND = 404

EXPECTED: dict[Kind, frozenset[tuple[int, str | None]]] = {
    Kind.BOOK: frozenset({(200, None), (201, None), (202, None), (409, "sold_out"), (409, "per_user_limit")}),
    Kind.POLL: frozenset({(200, None)}),
    Kind.CANCEL: frozenset({(200, None)}),
}
"""The answers a sound request can get, beside none and those of `UNAVAILABLE`."""

UNAVAILABLE = frozenset({(503, "unavailable"), (503, "persistence_lagging")})


def nothing_is_oversold_in_postgresql(evidence: Evidence) -> list[str]:
    """No count of PostgreSQL's was ever seen above an event's capacity."""
    held = evidence.held
    found = []
    for books in evidence.books:
        most = max(held[books.event_id].total(), books.pool_taken, books.sight.postgres_most)
        if most > books.capacity:
            found.append(f"{most} of {books.capacity} places were sold")
    return found


def nothing_is_oversold_in_redis(evidence: Evidence) -> list[str]:
    """No counter of Redis' was ever seen above an event's capacity, or below nothing."""
    found = []
    for books in evidence.books:
        most, least = max(books.redis_taken, books.sight.redis_most), min(books.redis_taken, books.sight.redis_least)
        if most > books.capacity or least < 0:
            found.append(f"between {least} and {most} of {books.capacity} places were taken")
    return found


def nobody_is_over_the_limit(evidence: Evidence) -> list[str]:
    """No account holds more of an event than one account may."""
    found = []
    for books in evidence.books:
        most = Counter(books.redis_users) | evidence.held[books.event_id]
        found += [f"{buyer} holds {n} of {books.max_per_user}" for buyer, n in most.items() if n > books.max_per_user]
    return found


def no_confirmed_booking_is_lost(evidence: Evidence) -> list[str]:
    """What anybody was told is confirmed is a row: confirmed, or cancelled if its buyer asked for that."""
    status = evidence.status
    cancelled = _asked_to_cancel(evidence)
    confirmed = {answer.booking for answer in evidence.answers if answer.booking and answer.state == "confirmed"}
    return [
        f"confirmed booking {booking} is {status.get(booking, MISSING)}"
        for booking in confirmed
        if status.get(booking) != "confirmed" and (booking not in cancelled or status.get(booking) != "cancelled")
    ]


def no_accepted_booking_is_lost(evidence: Evidence) -> list[str]:
    """What was accepted is a row in a final state; without Redis' memory DURABILITY=redis does not promise that."""
    if evidence.redis_was_lost:
        return []
    reasons = {row.id: row.reason for row in evidence.rows}
    status = evidence.status
    cancelled = _asked_to_cancel(evidence)
    found = []
    for booking in evidence.accepted:
        state = status.get(booking, MISSING)
        if state not in FINAL or (state == "cancelled" and booking not in cancelled):
            found.append(f"accepted booking {booking} is {state}")
        elif state == "rejected" and not reasons[booking]:
            found.append(f"rejected booking {booking} has no reason")
    return found


def no_cancellation_is_lost(evidence: Evidence) -> list[str]:
    """What was answered `cancelled` is; without Redis' memory DURABILITY=redis does not promise that."""
    if evidence.redis_was_lost:
        return []
    status = evidence.status
    return [
        f"cancelled booking {booking} is {status.get(booking, MISSING)}"
        for booking in {answer.booking for answer in evidence.answers if answer.state == "cancelled"}
        if booking and status.get(booking) != "cancelled"
    ]


def one_booking_per_key(evidence: Evidence) -> list[str]:
    """An account's key named one booking, however often it was sent."""
    named: dict[str, set[UUID]] = defaultdict(set)
    for answer in evidence.answers:
        if answer.accepted and answer.booking:
            named[answer.order.key].add(answer.booking)
    return [f"key {key} named {len(bookings)} bookings" for key, bookings in named.items() if len(bookings) > 1]


def every_row_was_asked_for(evidence: Evidence) -> list[str]:
    """Each row follows from a key that was sent, and is of its buyer, event and quantity."""
    asked = {id_of(answer.order): answer.order for answer in evidence.answers if answer.kind is Kind.BOOK}
    found = []
    for row in evidence.rows:
        order = asked.get(row.id)
        if order is None:
            found.append(f"nobody asked for booking {row.id}")
        elif (order.buyer, order.event, order.quantity) != (row.user_id, row.event_id, row.quantity):
            found.append(f"booking {row.id} is not what was asked for")
    return found


def no_status_goes_back(evidence: Evidence) -> list[str]:
    """Whoever asks after somebody was told a booking's state is told that one or a later one."""
    if evidence.redis_was_lost:
        return []
    found = []
    for booking, answers in _by_booking(evidence.answers).items():
        told = sorted((a for a in answers if a.state), key=lambda a: a.sent_s)
        heard = sorted(told, key=lambda a: a.answered_s)
        highest, known = 0, 0
        for answer in told:
            while known < len(heard) and heard[known].answered_s < answer.sent_s:
                highest = max(highest, RANKS[heard[known].state or ""])
                known += 1
            if RANKS[answer.state or ""] < highest:
                found.append(f"booking {booking} went back to {answer.state}")
    return found


def no_retry_is_refused(evidence: Evidence) -> list[str]:
    """Once a key was accepted it is never refused, and its booking never unknown."""
    if evidence.redis_was_lost:
        return []
    accepted_s: dict[UUID, float] = {}
    for answer in evidence.answers:
        if answer.accepted:
            booking = id_of(answer.order)
            accepted_s[booking] = min(answer.answered_s, accepted_s.get(booking, answer.answered_s))
    return [
        f"booking {id_of(answer.order)} was answered {answer.status} {answer.code} after it was accepted"
        for answer in evidence.answers
        if answer.conclusive and not answer.state and accepted_s.get(id_of(answer.order), answer.sent_s) < answer.sent_s
    ]


def every_answer_is_expected(evidence: Evidence) -> list[str]:
    """Each request was answered as the contract says, with 503 or not at all; never with another failure."""
    odd: Counter[tuple[Kind, int, str | None]] = Counter()
    for answer in evidence.answers:
        said = (answer.status, answer.code)
        lost = evidence.redis_was_lost and answer.status == NOT_FOUND
        if answer.status and said not in EXPECTED[answer.kind] | UNAVAILABLE and not lost:
            odd[answer.kind, answer.status, answer.code] += 1
    return [f"{count} times {kind} was answered {status} {code}" for (kind, status, code), count in odd.items()]


def redis_and_rows_agree(evidence: Evidence) -> list[str]:
    """Redis' counters, of the pool and of each account, are what the rows add up to."""
    found = []
    for books in evidence.books:
        held = evidence.held[books.event_id]
        if books.redis_taken != held.total():
            found.append(f"Redis counts {books.redis_taken} places, the rows {held.total()}")
        counted = {buyer: books.redis_users.get(buyer, 0) for buyer in held.keys() | books.redis_users.keys()}
        found += [
            f"Redis counts {places} places of {buyer}, the rows {held[buyer]}"
            for buyer, places in counted.items()
            if places != held[buyer]
        ]
    return found


def pools_and_rows_agree(evidence: Evidence) -> list[str]:
    """PostgreSQL's own count of taken places, and their number, are the rows' and the event's."""
    held = evidence.held
    return [
        f"the pool says {books.pool_taken} of {books.pool_size}, the rows {held[books.event_id].total()}"
        for books in evidence.books
        if (books.pool_taken, books.pool_size) != (held[books.event_id].total(), books.capacity)
    ]


def nothing_is_left_to_persist(evidence: Evidence) -> list[str]:
    """Redis lists nothing as unpersisted, and PostgreSQL keeps no intent that was not carried out."""
    left = {"unpersisted bookings": evidence.unpersisted, "intents": evidence.intents}
    return [f"{count} {what} are left" for what, count in left.items() if count]


def the_books_never_drifted(evidence: Evidence) -> list[str]:
    """Reconciliation found nothing to repair, neither in the course of the trial nor at its end."""
    faults = Counter(repair.fault for repair in evidence.repairs)
    found = [f"{count} times reconciliation found {fault}" for fault, count in faults.items()]
    return found + ([f"{evidence.audit_drift} differences are left"] if evidence.audit_drift else [])


def the_api_and_rows_agree(evidence: Evidence) -> list[str]:
    """At the end the API says of a booking what PostgreSQL has."""
    status = evidence.status
    return [
        f"the API says {told} of booking {booking}, its row says {status.get(booking, MISSING)}"
        for booking, told in evidence.told.items()
        if told != status.get(booking, MISSING)
    ]


def everybody_was_answered(evidence: Evidence) -> list[str]:
    """There was something to check, and every buyer got each answer it insisted on."""
    found = [] if evidence.accepted else ["no booking was accepted"]
    return found + ([f"{evidence.unanswered} requests were never answered"] if evidence.unanswered else [])


def no_process_gave_up(evidence: Evidence) -> list[str]:
    """No API and no worker process ended of itself, whatever became of the servers."""
    return evidence.gave_up


def everything_was_final_in_time(evidence: Evidence) -> list[str]:
    """When the faults were over, every accepted booking was final soon."""
    took_s, most_s = evidence.to_final_s, evidence.to_final_s_max
    if took_s is None:
        return ["accepted bookings never were final"]
    return [f"the last booking was final after {took_s:.1f} s, not {most_s:.0f}"] if took_s > most_s else []


CHECKS: tuple[Callable[[Evidence], list[str]], ...] = (
    nothing_is_oversold_in_postgresql,
    nothing_is_oversold_in_redis,
    nobody_is_over_the_limit,
    no_confirmed_booking_is_lost,
    no_accepted_booking_is_lost,
    no_cancellation_is_lost,
    one_booking_per_key,
    every_row_was_asked_for,
    no_status_goes_back,
    no_retry_is_refused,
    every_answer_is_expected,
    redis_and_rows_agree,
    pools_and_rows_agree,
    nothing_is_left_to_persist,
    the_books_never_drifted,
    the_api_and_rows_agree,
    everybody_was_answered,
    no_process_gave_up,
    everything_was_final_in_time,
)
"""All of them, in the order they are printed."""


def check(evidence: Evidence) -> dict[str, list[str]]:
    """The violations each check finds, by its name; empty lists everywhere when every promise was kept."""
    return {each.__name__: each(evidence) for each in CHECKS}


def _asked_to_cancel(evidence: Evidence) -> set[UUID]:
    """Bookings somebody tried to cancel, answered or not."""
    return {id_of(answer.order) for answer in evidence.answers if answer.kind is Kind.CANCEL}


def _by_booking(answers: Iterable[Answer]) -> dict[UUID, list[Answer]]:
    found: dict[UUID, list[Answer]] = defaultdict(list)
    for answer in answers:
        found[id_of(answer.order)].append(answer)
    return found
