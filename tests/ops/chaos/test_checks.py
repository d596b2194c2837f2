"""Each check holds for a trial in order, and fails for each kind of violation it is there for."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from msgspec import structs

from ops.chaos.answers import Kind
from ops.chaos.checks import CHECKS, check
from ops.chaos.evidence import Repaired
from ops.chaos.watch import Sight
from tests.ops.chaos.trials import (
    ANN,
    BEN,
    CID,
    accepted,
    answer,
    booking_of,
    books_in_order,
    refused,
    row,
    told,
    trial_in_order,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from ops.chaos.answers import Answer
    from ops.chaos.evidence import Evidence, Row


def with_(**changes: object) -> Evidence:
    return structs.replace(trial_in_order(), **changes)


def with_answers(*more: Answer) -> Evidence:
    return with_(answers=[*trial_in_order().answers, *more])


def with_row(changed: Row) -> Evidence:
    return with_(rows=[changed if each.id == changed.id else each for each in trial_in_order().rows])


def with_rows(*more: Row) -> Evidence:
    return with_(rows=[*trial_in_order().rows, *more])


def without_row(buyer: UUID) -> Evidence:
    return with_(rows=[each for each in trial_in_order().rows if each.user_id != buyer])


def with_books(**changes: object) -> Evidence:
    return with_(books=[structs.replace(books_in_order(), **changes)])


VIOLATIONS: dict[str, list[Callable[[], Evidence]]] = {
    "nothing_is_oversold_in_postgresql": [
        lambda: with_row(row(BEN)),
        lambda: with_books(pool_taken=6),
        lambda: with_books(sight=Sight(postgres_most=6)),
    ],
    "nothing_is_oversold_in_redis": [
        lambda: with_books(redis_taken=6),
        lambda: with_books(redis_taken=-1),
        lambda: with_books(sight=Sight(redis_most=6)),
        lambda: with_books(sight=Sight(redis_least=-1)),
    ],
    "nobody_is_over_the_limit": [
        lambda: with_books(redis_users={ANN: 4}),
        lambda: with_books(max_per_user=1),
    ],
    "no_confirmed_booking_is_lost": [
        lambda: without_row(ANN),
        lambda: with_row(row(ANN, "cancelled")),
        lambda: with_row(row(ANN, "rejected", reason="sold_out")),
        lambda: without_row(BEN),
    ],
    "no_accepted_booking_is_lost": [
        lambda: without_row(CID),
        lambda: with_row(row(CID, "cancelled")),
        lambda: with_row(row(CID, "rejected")),
        lambda: with_row(row(CID, "pending")),
    ],
    "no_cancellation_is_lost": [
        lambda: with_row(row(BEN)),
        lambda: without_row(BEN),
    ],
    "one_booking_per_key": [
        lambda: with_answers(structs.replace(accepted(ANN, second=2), booking=uuid4())),
    ],
    "every_row_was_asked_for": [
        lambda: with_rows(row(ANN, id=uuid4())),
        lambda: with_row(row(ANN, user_id=CID)),
        lambda: with_row(row(ANN, quantity=1)),
        lambda: with_row(row(ANN, event_id=uuid4())),
    ],
    "no_status_goes_back": [
        lambda: with_answers(told(ANN, "pending", second=2)),
        lambda: with_answers(told(BEN, "confirmed", second=2)),
        lambda: with_answers(accepted(BEN, second=2)),
    ],
    "no_retry_is_refused": [
        lambda: with_answers(refused(ANN, second=2)),
        lambda: with_answers(answer(Kind.POLL, ANN, second=2, status=404, code="booking_not_found")),
        lambda: with_answers(answer(Kind.CANCEL, ANN, second=2, status=404, code="booking_not_found")),
    ],
    "every_answer_is_expected": [
        lambda: with_answers(refused(CID, second=2, status=500, code="internal")),
        lambda: with_answers(refused(CID, second=2, status=401, code="unauthenticated")),
        lambda: with_answers(answer(Kind.POLL, ANN, second=2, status=404, code="booking_not_found")),
        lambda: with_answers(refused(CID, second=2, status=503, code="something")),
    ],
    "redis_and_rows_agree": [
        lambda: with_books(redis_taken=5),
        lambda: with_books(redis_users={ANN: 2, BEN: 1, CID: 2}),
        lambda: with_books(redis_users={ANN: 2}),
    ],
    "pools_and_rows_agree": [
        lambda: with_books(pool_taken=3),
        lambda: with_books(pool_size=6),
    ],
    "nothing_is_left_to_persist": [
        lambda: with_(unpersisted=1),
        lambda: with_(intents=1),
    ],
    "the_books_never_drifted": [
        lambda: with_(repairs=[Repaired("counter_too_low", "pool:main", 3, 4)]),
        lambda: with_(audit_drift=1),
    ],
    "the_api_and_rows_agree": [
        lambda: with_(told={booking_of(ANN): "pending"}),
        lambda: without_row(ANN),
    ],
    "everybody_was_answered": [
        lambda: with_(unanswered=1),
        lambda: with_(answers=[]),
    ],
    "no_process_gave_up": [
        lambda: with_(gave_up=["worker.1 ended with 1"]),
    ],
    "everything_was_final_in_time": [
        lambda: with_(to_final_s=None),
        lambda: with_(to_final_s=5.1),
    ],
}
"""For each check, evidence with one violation of each kind it is there for."""

EXCUSED = ("no_accepted_booking_is_lost", "no_cancellation_is_lost", "no_status_goes_back", "no_retry_is_refused")
"""What DURABILITY=redis does not promise when Redis lost its memory."""


def test_a_trial_in_order_passes_every_check() -> None:
    assert not any(check(trial_in_order()).values())


def test_every_check_has_violations_planted() -> None:
    assert list(VIOLATIONS) == [each.__name__ for each in CHECKS]


@pytest.mark.parametrize(
    ("name", "violated"),
    [(name, violated) for name, kinds in VIOLATIONS.items() for violated in kinds],
    ids=[f"{name}-{number}" for name, kinds in VIOLATIONS.items() for number in range(1, len(kinds) + 1)],
)
def test_a_planted_violation_is_found(name: str, violated: Callable[[], Evidence]) -> None:
    assert check(violated())[name]


@pytest.mark.parametrize("name", EXCUSED)
def test_what_was_not_promised_is_not_held_against_it(name: str) -> None:
    for violated in VIOLATIONS[name]:
        assert not check(structs.replace(violated(), redis_was_lost=True))[name]


def test_the_loss_of_redis_excuses_no_confirmed_booking() -> None:
    lost = structs.replace(without_row(ANN), redis_was_lost=True)

    assert check(lost)["no_confirmed_booking_is_lost"]


def test_answers_that_crossed_on_their_way_are_in_no_order() -> None:
    late = structs.replace(told(ANN, "pending", second=0.0), answered_s=9.0)

    assert not check(with_answers(late))["no_status_goes_back"]


def test_a_retry_that_was_sent_before_the_acceptance_may_be_refused() -> None:
    early = refused(ANN, second=-1.0)

    assert not check(with_answers(early))["no_retry_is_refused"]
