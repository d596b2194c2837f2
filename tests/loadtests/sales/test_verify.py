"""Each check of `verify` holds for a sale in order, and fails for each kind of violation it is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from loadtests.sales.answers import Kind
from loadtests.sales.evidence import Books, Evidence, Told
from loadtests.sales.verify import CHECKS, verdict, verify
from tests.loadtests.sales.small_sale import (
    ANN,
    BEN,
    CID,
    DOT,
    EVE,
    answer,
    booking_of,
    cancelled,
    confirmed,
    refused,
    row,
    sale_in_order,
    unasked_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from loadtests.sales.answers import Answer
    from loadtests.sales.evidence import Row


def with_answers(*more: Answer) -> Evidence:
    sale = sale_in_order()
    return structs.replace(sale, answers=[*sale.answers, *more])


def with_rows(*more: Row) -> Evidence:
    sale = sale_in_order()
    return structs.replace(sale, rows=[*sale.rows, *more])


def without_row(buyer: object) -> Evidence:
    sale = sale_in_order()
    return structs.replace(sale, rows=[row for row in sale.rows if row.user_id != buyer])


def with_counters(**changes: object) -> Evidence:
    sale = sale_in_order()
    return structs.replace(sale, counters=structs.replace(sale.counters, **changes))


def with_told(buyer: object, told: Told) -> Evidence:
    sale = sale_in_order()
    return structs.replace(sale, told=sale.told | {booking_of(buyer): told})


def with_(**changes: object) -> Evidence:
    return structs.replace(sale_in_order(), **changes)


def with_answer_changed(number: int, **changes: object) -> Evidence:
    sale = sale_in_order()
    answers = list(sale.answers)
    answers[number] = structs.replace(answers[number], **changes)
    return structs.replace(sale, answers=answers)


VIOLATIONS: dict[str, list[Callable[[], Evidence]]] = {
    "nothing_is_oversold": [
        lambda: with_rows(row(DOT)),
        lambda: with_(pool_taken=5),
        lambda: with_counters(pool=5),
    ],
    "all_is_sold_when_demand_exceeds_it": [
        lambda: without_row(EVE),
        lambda: with_(capacity=5),
        # Given back before the last one was refused: that one should have got it.
        lambda: structs.replace(with_answers(cancelled(CID, second=2.5)), rows=without_row(CID).rows),
    ],
    "nobody_was_refused_early": [
        lambda: with_answers(refused(DOT, second=0.05)),
        lambda: with_answers(refused(DOT, second=0.15, quantity=1)),
    ],
    "no_buyer_is_over_the_limit": [
        lambda: with_(max_per_user=1),
        lambda: with_counters(users={ANN: 3}),
    ],
    "every_acceptance_is_final": [
        lambda: with_told(CID, Told("pending")),
        lambda: with_told(CID, Told("missing")),
        lambda: with_(told={}),
        lambda: with_told(CID, Told("rejected")),
    ],
    "every_confirmed_booking_has_one_row": [
        lambda: without_row(ANN),
        lambda: with_rows(row(ANN, quantity=2)),
        lambda: structs.replace(sale_in_order(), rows=[row(ANN, quantity=1)]),
        lambda: with_answers(confirmed(DOT, second=5)),
        lambda: with_(rows=[structs.replace(row(ANN, quantity=2), user_id=DOT)]),
    ],
    "one_booking_per_key": [
        lambda: with_answers(answer(Kind.REPLAY, ANN, second=5, status=202, quantity=2, booking=booking_of(DOT))),
        lambda: with_answers(answer(Kind.BOOK, ANN, second=5, status=202, quantity=2, booking=booking_of(DOT))),
    ],
    "every_row_was_asked_for": [lambda: with_rows(unasked_row(DOT))],
    "every_cancelled_booking_stays_cancelled": [
        lambda: with_(rows=[row(ANN, quantity=2), row(BEN), row(CID), row(EVE)]),
        lambda: without_row(BEN),
    ],
    "redis_and_rows_agree": [
        lambda: with_counters(pool=3),
        lambda: with_counters(users={ANN: 2, BEN: 1, CID: 1, EVE: 1}),
        lambda: with_counters(users={ANN: 2, CID: 1}),
    ],
    "the_pool_and_rows_agree": [
        lambda: with_(pool_taken=3),
        lambda: with_(pool_size=5),
    ],
    "the_api_and_rows_agree": [
        lambda: with_(shown_booked=3),
        lambda: with_(shown_remaining=1),
        lambda: with_told(CID, Told("cancelled")),
        lambda: without_row(CID),
    ],
    "nothing_is_left_to_persist": [lambda: with_counters(unpersisted=1)],
    "the_audit_agrees": [
        lambda: with_(books=Books(remaining=0, pending=0, confirmed=4, in_order=False)),
        lambda: with_(books=Books(remaining=1, pending=0, confirmed=3, in_order=True)),
        lambda: with_(books=Books(remaining=0, pending=1, confirmed=4, in_order=True)),
    ],
    "no_request_failed": [
        lambda: with_answers(refused(DOT, second=5, code="not_on_sale")),
        lambda: with_answers(answer(Kind.POLL, ANN, second=5, status=404)),
        lambda: with_answers(answer(Kind.BOOK, ANN, second=5, status=0)),
        lambda: with_answers(answer(Kind.CANCEL, BEN, second=5, status=503)),
    ],
    "everybody_had_a_turn": [
        lambda: with_(ended="cut short after 1 s"),
        lambda: with_(buyers=frozenset({ANN, booking_of(ANN)})),
    ],
}
"""For each check, evidence with one violation of each kind it is there for."""


def test_a_sale_in_order_passes_every_check() -> None:
    assert not any(verify(sale_in_order()).values())


def test_every_check_has_violations_planted() -> None:
    assert list(VIOLATIONS) == [check.__name__ for check in CHECKS]


@pytest.mark.parametrize(
    ("check", "violated"),
    [(check, violated) for check, kinds in VIOLATIONS.items() for violated in kinds],
    ids=[f"{check}-{number}" for check, kinds in VIOLATIONS.items() for number in range(1, len(kinds) + 1)],
)
def test_a_planted_violation_is_found(check: str, violated: Callable[[], Evidence]) -> None:
    found = verify(violated())

    assert found[check]


def test_a_rejected_booking_with_a_reason_is_final() -> None:
    evidence = with_told(CID, Told("rejected", "sold_out"))

    assert not verify(evidence)["every_acceptance_is_final"]


def test_tickets_returned_after_the_last_refusal_may_stay_unsold() -> None:
    late = structs.replace(with_answers(cancelled(CID, second=4.5)), rows=without_row(CID).rows)
    late = structs.replace(late, rows=[*late.rows, row(CID, status="cancelled")])

    assert not verify(late)["all_is_sold_when_demand_exceeds_it"]


def test_less_demand_than_tickets_leaves_some() -> None:
    few = with_(capacity=50, answers=[answer for answer in sale_in_order().answers if answer.buyer != DOT])

    assert not verify(few)["all_is_sold_when_demand_exceeds_it"]


def test_the_verdict_counts_what_it_does_not_show() -> None:
    many = with_counters(unpersisted=0, users={booking_of(ANN): 9}, pool=4)

    text = verdict(verify(many) | {"no_request_failed": [f"violation {number}" for number in range(8)]})

    assert "FAIL  redis and rows agree" in text
    assert "ok    nothing is left to persist" in text
    assert "and 3 more" in text
