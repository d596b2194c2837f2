"""How an answer is written, and the outcome under which it counts."""

from __future__ import annotations

import pytest

from ops.evidence.answers import BUFFER_BYTES, AnswerLog, Kind, Outcome, outcome_of, read_answers
from tests.ops.evidence.runs import ANN, accepted, refused


@pytest.mark.parametrize(
    ("kind", "status", "code", "outcome"),
    [
        (Kind.BOOK, 202, None, Outcome.ACCEPTED),
        (Kind.BOOK, 201, None, Outcome.ACCEPTED),
        (Kind.BOOK, 409, "sold_out", Outcome.REFUSED),
        (Kind.BOOK, 409, "per_user_limit", Outcome.REFUSED),
        (Kind.BOOK, 409, "not_on_sale", Outcome.FAILED),
        (Kind.BOOK, 409, None, Outcome.FAILED),
        (Kind.BOOK, 429, "sold_out", Outcome.FAILED),
        (Kind.BOOK, 503, "persistence_lagging", Outcome.FAILED),
        (Kind.BOOK, 0, None, Outcome.FAILED),
        (Kind.REPLAY, 202, None, Outcome.REPLAYED),
        (Kind.REPLAY, 409, "sold_out", Outcome.FAILED),
        (Kind.POLL, 200, None, Outcome.POLL),
        (Kind.POLL, 304, None, Outcome.FAILED),
        (Kind.POLL, 404, "booking_not_found", Outcome.FAILED),
        (Kind.LONG_POLL, 200, None, Outcome.LONG_POLL),
        (Kind.CANCEL, 200, None, Outcome.CANCEL),
        (Kind.CANCEL, 409, "event_started", Outcome.FAILED),
        (Kind.LOGIN, 401, "invalid_credentials", Outcome.FAILED),
        (Kind.LOOK, 200, None, Outcome.LOOK),
    ],
)
def test_an_answer_counts_as_what_the_contract_calls_it(kind, status, code, outcome) -> None:
    assert outcome_of(kind, status=status, code=code) is outcome


def test_answers_come_back_as_they_were_kept(tmp_path) -> None:
    kept = [accepted(ANN, second=0), refused(ANN, second=1)]
    log = AnswerLog(tmp_path / "answers.jsonl")

    for answer in kept:
        log.append(answer)
    log.close()

    assert read_answers(tmp_path / "answers.jsonl") == kept
    assert log.count == 2


def test_answers_are_written_a_buffer_at_a_time(tmp_path) -> None:
    path = tmp_path / "answers.jsonl"
    log = AnswerLog(path)

    log.append(accepted(ANN, second=0))
    unwritten = path.stat().st_size
    while path.stat().st_size == 0:
        log.append(accepted(ANN, second=0))
    log.close()

    assert unwritten == 0
    assert log.count > BUFFER_BYTES // 1000
