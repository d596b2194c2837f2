"""The figures of a run follow from its answers."""

from __future__ import annotations

from msgspec import structs

from loadtests.sales.figures import Closing, figures_of, seconds_until_held, table, times_of
from loadtests.sales.profiles import SHMOOCON_2016
from ops.evidence.answers import Kind
from tests.ops.evidence.runs import (
    ANN,
    BEN,
    CID,
    DOT,
    OPENED_S,
    accepted,
    answer,
    cancelled,
    confirmed,
    refused,
)

CLOSING = Closing(opened_s=OPENED_S, ended="everybody left", cpu_shares=[0.4, 0.7])


def test_percentiles_are_times_that_were_measured() -> None:
    times = times_of([float(number) for number in range(1, 101)])

    assert (times.p50_ms, times.p95_ms, times.p99_ms) == (50.0, 95.0, 99.0)


def test_tickets_are_held_when_the_last_one_is_given_away() -> None:
    answers = [accepted(ANN, second=0, quantity=2), accepted(BEN, second=1.5)]

    held_seconds = seconds_until_held(answers, tickets=3)

    assert held_seconds is not None
    assert round(held_seconds, 3) == 1.51


def test_a_ticket_given_back_is_not_held() -> None:
    held = [accepted(ANN, second=0, quantity=1), accepted(BEN, second=2), accepted(CID, second=3)]
    answers = [*held, cancelled(ANN, second=1)]

    assert round(seconds_until_held(answers, tickets=2) or 0, 3) == 3.01
    assert seconds_until_held(answers, tickets=3) is None


def test_rates_are_over_the_seconds_in_which_something_happened() -> None:
    answers = [refused(DOT, second=0.1), refused(DOT, second=0.2), refused(DOT, second=30.0)]

    refusals = figures_of(answers, CLOSING, tickets=1).rates["book: refused"]

    assert (refusals.times.count, refusals.per_second, refusals.per_second_peak) == (3, 1.5, 2)


def test_logins_before_the_opening_are_no_requests_of_the_sale() -> None:
    answers = [answer(Kind.LOGIN, ANN, second=-5, status=200), accepted(ANN, second=0)]

    rates = figures_of(answers, CLOSING, tickets=1).rates

    assert (rates["requests"].times.count, rates["login"].times.count) == (1, 1)


def test_what_failed_is_counted_apart_and_last() -> None:
    failed = [answer(Kind.BOOK, BEN, second=0, status=503), answer(Kind.POLL, BEN, second=0, status=0)]

    rates = figures_of([*failed, accepted(ANN, second=0)], CLOSING, tickets=1).rates

    assert list(rates) == ["requests", "book: accepted", "book: failed", "poll: failed"]


def test_confirmation_is_timed_to_the_first_answer_that_says_so() -> None:
    answers = [accepted(ANN, second=0), confirmed(ANN, second=1), confirmed(ANN, second=9)]
    answers[1] = structs.replace(answers[1], confirm_ms=40.0)

    figures = figures_of(answers, CLOSING, tickets=1)

    assert figures.seen is not None
    assert figures.confirmed is not None
    assert round(figures.seen.p99_ms) == 1000
    assert figures.confirmed.p99_ms == 40.0


def test_the_table_says_when_the_generator_was_the_ceiling() -> None:
    answers = [accepted(ANN, second=0)]
    busy = structs.replace(CLOSING, cpu_shares=[0.2, 0.97])

    idle_table = table(figures_of(answers, CLOSING, tickets=1), SHMOOCON_2016, run="once")
    busy_table = table(figures_of(answers, busy, tickets=1), SHMOOCON_2016, run="once")

    assert "70% of a core" in idle_table
    assert "CEILING" not in idle_table
    assert "CEILING" in busy_table
