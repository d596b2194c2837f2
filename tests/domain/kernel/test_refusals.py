"""Refusals in words: one buys tickets, and their number is right."""

from __future__ import annotations

import re

import pytest

from domain.kernel.refusals import CapacityBelowSold, tickets
from domain.sales.refusals import over_limit, sold_out
from tests.processes import ROOT

WORDS_FOR_TICKETS = re.compile(r"\b(?:places?|seats?)\b", re.IGNORECASE)


@pytest.mark.parametrize(("number", "words"), [(0, "0 tickets"), (1, "1 ticket"), (2, "2 tickets")])
def test_one_is_a_ticket_and_others_are_tickets(number, words):
    assert tickets(number) == words


@pytest.mark.parametrize(
    ("remaining", "detail"),
    [
        (0, "The event has no tickets left."),
        (-1, "The event has no tickets left."),
        (1, "The event has only 1 ticket left. Book fewer."),
        (3, "The event has only 3 tickets left. Book fewer."),
    ],
)
def test_a_shortage_tells_how_many_tickets_are_left(remaining, detail):
    refusal = sold_out(remaining)

    assert (refusal.detail, refusal.facts) == (detail, {"remaining": max(0, remaining)})


def test_an_allowance_of_one_ticket_is_one_ticket():
    refusal = over_limit(1, remaining=0)

    assert refusal.detail == "An account may book 1 ticket of this event. Yours has 1 ticket already."


def test_a_capacity_below_what_is_sold_names_the_least_one():
    assert CapacityBelowSold.of(1).detail == "The event has sold 1 ticket. Choose a capacity of 1 or more."


def test_what_callers_read_of_tickets_says_tickets():
    """The tables of texts that answers and the documentation are made from."""
    sources = [
        "domain/kernel/refusals.py",
        "api/http/problems.py",
        "api/reference/openapi.py",
        "api/reference/answers.py",
        "api/reference/examples.py",
    ]
    found = {source: WORDS_FOR_TICKETS.findall((ROOT / source).read_text()) for source in sources}

    assert {source: words for source, words in found.items() if words} == {}
