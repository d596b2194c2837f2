"""How long a ticket was free in a sale with unpaid holds."""

from __future__ import annotations

import pytest

from loadtests.costs.unpaid_holds import idle_seconds

ASKED_S = [each / 10 for each in range(1_000)]
"""Ten requests a second."""


@pytest.mark.parametrize(
    ("freed_s", "taken_s", "idle_s"),
    [
        ([], [0.0, 0.1], 0.0),
        ([3.0], [0.0, 0.1, 3.0], 0.0),
        ([3.0, 3.1], [0.0, 0.1, 3.2, 5.1], 2.0),
        ([3.0, 6.0], [0.0, 0.1, 3.0, 6.0], 0.0),
    ],
    ids=["never free", "taken at the deadline", "taken late", "taken at every deadline"],
)
def test_a_ticket_is_idle_from_its_deadline_until_it_is_taken(freed_s, taken_s, idle_s):
    assert idle_seconds(freed_s, taken_s, ASKED_S, tickets=2) == pytest.approx(idle_s)


def test_a_ticket_that_nobody_asks_for_is_not_idle():
    assert idle_seconds([3.0], [0.0, 9.0], [0.0, 9.0], tickets=1) == 0.0
