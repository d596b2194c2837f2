"""Each check holds for a run in order, and fails for each kind of violation it is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from msgspec import structs

from domain.kernel.counters import POOL_MAIN, user_counter
from ops.evidence.answers import Kind
from ops.evidence.books import CountedRow
from ops.evidence.checks import CHECKS, check, verdict
from ops.evidence.evidence import Extremes, RecordedRepair, Shown, Told
from tests.ops.evidence.runs import (
    ANN,
    BEN,
    CID,
    DOT,
    EVE,
    EVENT,
    accepted,
    answer,
    audited,
    booking_of,
    cancelled,
    confirmed,
    counts,
    money_of,
    refused,
    row,
    rows_of,
    run_in_order,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ops.evidence.answers import Answer
    from ops.evidence.books import StoredBooking
    from ops.evidence.evidence import Evidence


def with_(**changes: object) -> Evidence:
    return structs.replace(run_in_order(), **changes)


def with_answers(*more: Answer) -> Evidence:
    return with_(answers=[*run_in_order().answers, *more])


def with_snapshot(**changes: object) -> Evidence:
    return with_(snapshot=structs.replace(run_in_order().snapshot, **changes))


def with_rows(*changed: StoredBooking) -> Evidence:
    return with_snapshot(rows=run_in_order().snapshot.rows | rows_of(*changed))


def without_row(buyer: UUID) -> Evidence:
    return with_snapshot(rows=rows_of(*(row for row in run_in_order().snapshot.rows.values() if row.user_id != buyer)))


def with_counts(**changes: object) -> Evidence:
    return with_snapshot(events=[counts(**changes)])


def with_counter(name: str, taken: int) -> Evidence:
    return with_counts(counters=counts().counters | {name: taken})


def with_told(buyer: UUID, said: Told) -> Evidence:
    return with_(told=run_in_order().told | {booking_of(buyer): said})


def without_a_word_of(buyer: UUID, evidence: Evidence) -> Evidence:
    said = {booking: told for booking, told in evidence.told.items() if booking != booking_of(buyer)}
    return structs.replace(evidence, told=said)


def confirms(*, second: float, status: int = 200, **fields: object) -> Answer:
    return answer(Kind.CONFIRM, DOT, second=second, status=status, **fields)


def with_hold(*said: Answer, status: str = "confirmed") -> Evidence:
    """A hold of Dot, of whom this was said, and its row."""
    evidence = with_answers(accepted(DOT, second=4, state="held", hold_ms=500), *said)
    return structs.replace(evidence, snapshot=with_rows(row(DOT, status)).snapshot)


def with_gate(*said: Answer, gate_pass: str = "x", clocks_were_set: bool = False) -> Evidence:
    """A hold of Dot, of a counter with a gate, of whom this was said, and its row."""
    evidence = with_answers(accepted(DOT, second=4, state="held", hold_ms=500, gate_pass=gate_pass), *said)
    snapshot = with_rows(row(DOT, claims={"pool:guests": 1})).snapshot
    return structs.replace(evidence, snapshot=snapshot, gates={"pool:guests": "x"}, clocks_were_set=clocks_were_set)


def reduces(*, second: float, kept: int = 1, state: str = "confirmed") -> Answer:
    return answer(Kind.REDUCE, ANN, second=second, status=200, kept=kept, state=state)


VIOLATIONS: dict[str, list[Callable[[], Evidence]]] = {
    "nothing_is_oversold_in_postgresql": [
        lambda: with_rows(row(DOT)),
        lambda: with_counts(rows={POOL_MAIN: CountedRow(4, 5)}),
        lambda: with_(seen={EVENT: Extremes(postgres_most=5)}),
    ],
    "nothing_is_oversold_in_redis": [
        lambda: with_counter(POOL_MAIN, 5),
        lambda: with_counter(POOL_MAIN, -1),
        lambda: with_(seen={EVENT: Extremes(redis_most=5)}),
        lambda: with_(seen={EVENT: Extremes(redis_least=-1)}),
    ],
    "no_counter_is_oversold": [
        lambda: with_counts(rows=counts().rows | {"pool:vip": CountedRow(1, 2)}),
        lambda: with_counts(
            rows=counts().rows | {"pool:vip": CountedRow(1, 1)}, counters=counts().counters | {"pool:vip": 2}
        ),
        lambda: with_counter("seat:A-1", 2),
        lambda: with_counter("seat:A-1", -1),
        lambda: structs.replace(with_counter("holds:ann", 3), account_sizes={"holds": 2}),
        lambda: with_(seen={EVENT: Extremes(counters={POOL_MAIN: 5})}),
        lambda: with_(seen={EVENT: Extremes(counters={"holds:ann": 3})}, account_sizes={"holds": 2}),
    ],
    "nobody_is_over_the_limit": [
        lambda: with_counter(user_counter(ANN), 3),
        lambda: with_counts(max_per_user=1),
    ],
    "no_confirmed_booking_is_lost": [
        lambda: without_row(ANN),
        lambda: without_a_word_of(ANN, without_row(ANN)),
        lambda: with_rows(row(ANN, "cancelled")),
        lambda: with_rows(row(ANN, "rejected", reason="sold_out")),
        lambda: without_row(BEN),
        lambda: with_answers(confirmed(DOT, second=5)),
        lambda: with_told(DOT, Told("confirmed")),
    ],
    "no_accepted_booking_is_lost": [
        lambda: without_row(CID),
        lambda: with_rows(row(CID, "cancelled")),
        lambda: with_rows(row(CID, "rejected")),
        lambda: with_rows(row(CID, "pending")),
    ],
    "no_cancellation_is_lost": [
        lambda: with_rows(row(BEN)),
        lambda: without_row(BEN),
        lambda: with_answers(told(EVE, "cancelled", second=5)),
        lambda: with_answers(answer(Kind.CANCEL, EVE, second=5, status=200)),
    ],
    "no_confirmation_is_lost": [
        lambda: with_hold(confirms(second=5, state="pending"), status="expired"),
        lambda: with_hold(confirms(second=5, state="confirmed"), status="cancelled"),
        lambda: with_hold(confirms(second=5, state="pending"), status="rejected"),
        lambda: with_hold(confirms(second=5, state="pending"), status="held"),
    ],
    "no_reduction_is_lost": [
        lambda: with_answers(reduces(second=5)),
        lambda: with_answers(reduces(second=5), reduces(second=6, kept=2)),
        lambda: with_answers(reduces(second=5, state="pending")),
        lambda: with_answers(reduces(second=5, state="held")),
    ],
    "no_expired_hold_is_confirmed": [
        lambda: with_hold(told(DOT, "expired", second=5)),
        lambda: with_hold(confirms(second=5, status=409, code="hold_expired")),
        lambda: with_hold(confirms(second=4.5, state="pending"), told(DOT, "expired", second=5)),
    ],
    "no_gate_is_jumped": [
        lambda: with_gate(gate_pass=""),
        lambda: with_gate(confirms(second=5, state="pending")),
        lambda: with_gate(confirms(second=5, status=0), confirms(second=6, state="pending", gate_pass="x")),
    ],
    "no_hold_outlives_its_deadline": [
        lambda: with_rows(row(DOT, "held", overdue=True)),
    ],
    "nobody_is_rejected": [
        lambda: with_rows(row(ANN, "rejected", reason="sold_out")),
    ],
    "one_booking_per_key": [
        lambda: with_answers(accepted(ANN, second=5, booking=uuid4())),
        lambda: with_answers(answer(Kind.REPLAY, ANN, second=5, status=202, booking=booking_of(DOT))),
    ],
    "every_row_was_asked_for": [
        lambda: with_rows(row(DOT, id=uuid4())),
        lambda: with_rows(row(ANN, user_id=DOT)),
        lambda: with_rows(row(ANN, quantity=1)),
        lambda: structs.replace(with_rows(row(ANN, quantity=3)), answers=with_answers(reduces(second=5)).answers),
        lambda: with_rows(row(ANN, event_id=uuid4())),
    ],
    "no_status_goes_back": [
        lambda: with_answers(told(ANN, "pending", second=5)),
        lambda: with_answers(told(BEN, "confirmed", second=5)),
        lambda: with_answers(accepted(BEN, second=5)),
    ],
    "no_retry_is_refused": [
        lambda: with_answers(refused(ANN, second=5)),
        lambda: with_answers(answer(Kind.POLL, ANN, second=5, status=404, code="booking_not_found")),
        lambda: with_answers(answer(Kind.CANCEL, ANN, second=5, status=404, code="booking_not_found", key=None)),
        lambda: with_answers(answer(Kind.REPLAY, ANN, second=5, status=409, code="sold_out")),
    ],
    "every_answer_is_expected": [
        lambda: with_answers(refused(DOT, second=5, code="not_on_sale")),
        lambda: with_answers(refused(DOT, second=5, status=500, code="internal")),
        lambda: with_answers(refused(DOT, second=5, status=401, code="unauthenticated")),
        lambda: with_answers(refused(DOT, second=5, status=503, code="unavailable")),
        lambda: with_answers(answer(Kind.BOOK, ANN, second=5)),
        lambda: with_answers(answer(Kind.POLL, ANN, second=5, status=404, code="booking_not_found")),
        lambda: with_answers(answer(Kind.CANCEL, BEN, second=5, status=503)),
        lambda: structs.replace(with_answers(refused(DOT, second=5, status=503, code="something")), faults=True),
        lambda: structs.replace(with_answers(refused(DOT, second=5, status=500, code="internal")), faults=True),
        lambda: structs.replace(with_answers(answer(Kind.POLL, ANN, second=5, status=404)), faults=True),
    ],
    "redis_and_rows_agree": [
        lambda: with_counter(POOL_MAIN, 3),
        lambda: with_counter(user_counter(BEN), 1),
        lambda: with_counts(counters={POOL_MAIN: 4, user_counter(ANN): 2, user_counter(CID): 1}),
        lambda: with_counts(closed=True),
        lambda: with_snapshot(records=rows_of(row(BEN))),
        lambda: with_snapshot(records=rows_of(row(EVE, version=2))),
        lambda: with_snapshot(records=rows_of(row(DOT, "rejected"))),
    ],
    "counters_and_rows_agree": [
        lambda: with_counts(rows={POOL_MAIN: CountedRow(4, 3)}),
        lambda: with_counts(rows={POOL_MAIN: CountedRow(5, 4)}),
    ],
    "money_adds_up": [
        lambda: with_snapshot(money=[money_of(ANN, paid=500, confirmed=400)]),
        lambda: with_snapshot(money=[money_of(ANN, paid=500, refunds=500, returned=400)]),
    ],
    "nothing_is_left_to_persist": [
        lambda: with_snapshot(unpersisted=frozenset({booking_of(ANN)})),
        lambda: with_snapshot(intents=1),
    ],
    "the_books_never_drifted": [
        lambda: with_(repairs=[RecordedRepair("counter_too_low", "pool:main", 3, 4)]),
        lambda: with_(differences=1),
    ],
    "the_audit_agrees": [
        lambda: with_(audited=None),
        lambda: with_(audited=[audited(drift=1)]),
        lambda: with_(audited=[audited(row_drift=1)]),
        lambda: with_(audited=[audited(other_drift=1)]),
        lambda: with_(audited=[audited(remaining=1, confirmed=3)]),
        lambda: with_(audited=[audited(pending=1)]),
    ],
    "the_api_and_rows_agree": [
        lambda: with_(told={}),
        lambda: with_told(CID, Told("pending")),
        lambda: with_told(CID, Told("missing")),
        lambda: with_told(CID, Told("cancelled")),
        lambda: with_told(CID, Told("rejected")),
        lambda: without_row(CID),
        lambda: with_(shown={}),
        lambda: with_(shown={EVENT: Shown(booked=3, remaining=0)}),
        lambda: with_(shown={EVENT: Shown(booked=4, remaining=1)}),
    ],
    "everybody_was_answered": [
        lambda: with_(unanswered=1),
        lambda: with_(answers=[]),
    ],
    "everybody_had_a_turn": [
        lambda: with_(ended="cut short after 1 s"),
        lambda: with_(buyers=frozenset({ANN, booking_of(ANN)})),
    ],
    "all_is_sold_when_demand_exceeds_it": [
        lambda: without_row(EVE),
        lambda: with_counts(capacity=5),
        # Given back before the last refusal: that request should have got it.
        lambda: structs.replace(without_row(CID), answers=with_answers(cancelled(CID, second=2.5)).answers),
    ],
    "nobody_was_refused_early": [
        lambda: with_answers(refused(DOT, second=0.05)),
        lambda: with_answers(refused(DOT, second=0.15, quantity=1)),
    ],
    "no_process_gave_up": [
        lambda: with_(gave_up=["worker.1 ended with 1"]),
    ],
    "everything_was_final_in_time": [
        lambda: with_(final_s=None),
        lambda: with_(final_s=5.1),
    ],
}
"""For each check, evidence with one violation of each kind it is there for."""

EXCUSED = (
    *("no_accepted_booking_is_lost", "no_cancellation_is_lost", "no_confirmation_is_lost", "no_reduction_is_lost"),
    *("nobody_is_rejected", "no_status_goes_back", "no_retry_is_refused"),
)
"""What DURABILITY=redis does not promise when Redis lost its memory."""

FAIRNESS = ("all_is_sold_when_demand_exceeds_it", "nobody_was_refused_early")
"""What is not promised while requests fail."""


def test_a_run_in_order_passes_every_check() -> None:
    assert not any(check(run_in_order()).values())


def test_every_check_has_violations_planted() -> None:
    assert list(VIOLATIONS) == [each.__name__ for each in CHECKS]


@pytest.mark.parametrize(
    ("name", "violated"),
    [(name, violated) for name, kinds in VIOLATIONS.items() for violated in kinds],
    ids=[f"{name}-{number}" for name, kinds in VIOLATIONS.items() for number in range(1, len(kinds) + 1)],
)
def test_a_planted_violation_is_found(name: str, violated: Callable[[], Evidence]) -> None:
    assert check(violated())[name]


HOLDS_IN_ORDER: dict[str, Callable[[], Evidence]] = {
    "left": lambda: with_hold(told(DOT, "expired", second=5), status="expired"),
    "refused": lambda: with_hold(confirms(second=5, status=409, code="hold_expired"), status="expired"),
    "at its cap": lambda: with_hold(answer(Kind.EXTEND, DOT, second=5, status=409, code="hold_at_cap")),
    "confirmed": lambda: with_hold(confirms(second=5, state="pending")),
    "confirmed late": lambda: with_hold(told(DOT, "expired", second=5), confirms(second=6, state="pending")),
    "perhaps confirmed": lambda: with_hold(confirms(second=5, status=0), told(DOT, "expired", second=6)),
    "given back late": lambda: with_hold(
        answer(Kind.CANCEL, DOT, second=5, status=200, state="expired"), status="expired"
    ),
    "not yet due": lambda: with_hold(status="held"),
}
GATES_IN_ORDER: dict[str, Callable[[], Evidence]] = {
    "confirmed in time without the pass": lambda: with_gate(confirms(second=4.2, state="pending")),
    "confirmed late with the pass": lambda: with_gate(confirms(second=5, state="pending", gate_pass="x")),
    "asked in time": lambda: with_gate(confirms(second=4.2, status=0), confirms(second=5, state="pending")),
    "extended before": lambda: with_gate(
        answer(Kind.EXTEND, DOT, second=4.2, status=200, state="held"), confirms(second=5, state="pending")
    ),
    "refused": lambda: with_gate(confirms(second=5, status=409, code="hold_expired")),
    "while clocks were set": lambda: with_gate(confirms(second=5, state="pending"), clocks_were_set=True),
}


@pytest.mark.parametrize("in_order", GATES_IN_ORDER.values(), ids=GATES_IN_ORDER)
def test_who_has_the_pass_or_confirms_in_time_jumps_no_gate(in_order: Callable[[], Evidence]) -> None:
    assert not check(in_order())["no_gate_is_jumped"]


HOLD_CHECKS = (
    *("no_confirmed_booking_is_lost", "no_accepted_booking_is_lost", "no_cancellation_is_lost"),
    *("no_confirmation_is_lost", "no_expired_hold_is_confirmed", "no_hold_outlives_its_deadline"),
    *("nobody_is_rejected", "every_row_was_asked_for", "no_status_goes_back", "no_retry_is_refused"),
)


@pytest.mark.parametrize(
    "figures",
    [
        {"paid": 500, "confirmed": 500},
        {"paid": 900, "confirmed": 300, "refunds": 200, "returned": 200, "kept": 400},
        {"paid": 500, "undecided": True},
    ],
)
def test_money_that_adds_up_or_is_not_decided_yet_is_in_order(figures: dict[str, int]) -> None:
    assert not check(with_snapshot(money=[money_of(ANN, **figures)]))["money_adds_up"]


@pytest.mark.parametrize("hold", HOLDS_IN_ORDER.values(), ids=HOLDS_IN_ORDER)
def test_a_hold_in_order_passes_the_checks_of_bookings(hold: Callable[[], Evidence]) -> None:
    found = check(hold())

    assert [name for name in HOLD_CHECKS if found[name]] == []


@pytest.mark.parametrize("status", [0, 200])
def test_a_reduced_booking_in_order_passes_the_checks_of_bookings(status: int) -> None:
    """A reduction without an answer may have happened, too."""
    said = structs.replace(reduces(second=5), status=status)
    evidence = structs.replace(with_rows(row(ANN, quantity=1)), answers=with_answers(said).answers)

    found = check(evidence)

    assert [name for name in (*HOLD_CHECKS, "no_reduction_is_lost") if found[name]] == []


def test_a_booking_that_was_not_reduced_any_more_keeps_its_tickets() -> None:
    assert not check(with_answers(reduces(second=5, state="cancelled")))["no_reduction_is_lost"]


@pytest.mark.parametrize("name", EXCUSED)
def test_what_was_not_promised_is_not_held_against_it(name: str) -> None:
    for violated in VIOLATIONS[name]:
        assert not check(structs.replace(violated(), redis_was_lost=True))[name]


@pytest.mark.parametrize("name", FAIRNESS)
def test_a_sale_with_faults_need_not_be_fair(name: str) -> None:
    for violated in VIOLATIONS[name]:
        assert not check(structs.replace(violated(), faults=True))[name]


@pytest.mark.parametrize(
    "failed",
    [
        answer(Kind.BOOK, DOT, second=5, booking=None),
        answer(Kind.CANCEL, EVE, second=5),
        refused(DOT, second=5, status=503, code="unavailable"),
        refused(DOT, second=5, status=503, code="persistence_lagging"),
    ],
)
def test_requests_may_fail_while_faults_happen(failed: Answer) -> None:
    assert not check(structs.replace(with_answers(failed), faults=True))["every_answer_is_expected"]


def test_the_loss_of_redis_excuses_no_confirmed_booking() -> None:
    lost = structs.replace(without_row(ANN), redis_was_lost=True)

    assert check(lost)["no_confirmed_booking_is_lost"]


def test_answers_that_crossed_on_their_way_are_in_no_order() -> None:
    late = structs.replace(told(ANN, "pending", second=0.0), took_ms=9_000.0)

    assert not check(with_answers(late))["no_status_goes_back"]


def test_a_retry_that_was_sent_before_the_acceptance_may_be_refused() -> None:
    early = refused(ANN, second=-1.0)

    assert not check(with_answers(early))["no_retry_is_refused"]


def test_a_rejected_booking_with_a_reason_is_final() -> None:
    rejected = with_rows(row(CID, "rejected", reason="sold_out"))

    assert not check(rejected)["no_accepted_booking_is_lost"]


def test_tickets_returned_after_the_last_refusal_may_stay_unsold() -> None:
    late = structs.replace(with_rows(row(CID, "cancelled")), answers=with_answers(cancelled(CID, second=4.5)).answers)

    assert not check(late)["all_is_sold_when_demand_exceeds_it"]


def test_less_demand_than_tickets_leaves_some() -> None:
    few = structs.replace(
        with_counts(capacity=50), answers=[answer for answer in run_in_order().answers if answer.buyer != DOT]
    )

    assert not check(few)["all_is_sold_when_demand_exceeds_it"]


def test_an_unpersisted_booking_may_be_newer_in_redis() -> None:
    newer = with_snapshot(records=rows_of(row(EVE, "cancelled", version=2)), unpersisted=frozenset({booking_of(EVE)}))

    assert not newer.snapshot.record_differences()


def test_the_verdict_counts_what_it_does_not_show() -> None:
    found = check(with_counter(POOL_MAIN, 3)) | {"one_booking_per_key": [f"violation {number}" for number in range(8)]}

    text = verdict(found)

    assert "FAIL  redis and rows agree" in text
    assert "ok    nothing is left to persist" in text
    assert "and 3 more" in text
