"""Work is divided into portions of similar size, however unequal the events are."""

from __future__ import annotations

from uuid import UUID

from domain.background.portions import portions

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def test_events_share_a_portion_while_their_tickets_fit():
    taken = {A: 4, B: 6, C: 1, D: 9}

    assert list(portions([A, B, C, D], taken, units_max=10)) == [[A, B], [C, D]]


def test_an_event_that_is_larger_than_a_portion_has_one_of_its_own():
    taken = {A: 1, B: 1_000, C: 1}

    assert list(portions([A, B, C], taken, units_max=10)) == [[A], [B], [C]]


def test_events_that_sold_nothing_or_are_not_known_take_no_room():
    assert list(portions([A, B, C], {A: 0, C: 10}, units_max=10)) == [[A, B, C]]


def test_no_events_have_no_portion():
    assert list(portions([], {}, units_max=10)) == []
