"""What the comparison of the two durabilities says."""

from __future__ import annotations

from itertools import islice

from loadtests.costs.durability import DurabilityMode, ModeTurn, table


def test_a_table_has_medians_and_the_ratios_of_each_round():
    redis = DurabilityMode(
        "redis", "", [], [], [ModeTurn(100.0, 10.0, 30.0), ModeTurn(300.0, 20.0, 40.0), ModeTurn(200.0, 30.0, 50.0)]
    )
    postgres = DurabilityMode(
        "postgres", "", [], [], [ModeTurn(90.0, 20.0, 60.0), ModeTurn(150.0, 20.0, 40.0), ModeTurn(160.0, 33.0, 75.0)]
    )

    lines = table(redis, postgres).split("\n")

    assert lines[2] == "| accepted per second | 200.0 | 150.0 | 0.80 (0.50 to 0.90) |"
    assert lines[3] == "| p50 ms | 20.0 | 20.0 | 1.10 (1.00 to 2.00) |"
    assert lines[4] == "| p99 ms | 40.0 | 60.0 | 1.50 (1.00 to 2.00) |"


def test_nobody_books_one_event_twice_and_no_two_bookings_have_one_key():
    side = DurabilityMode("redis", "", ["one", "two", "three", "four"], ["first event", "second event"])

    asked = [order.split(b"\r\n") for order in (*islice(side.orders(), 5), *islice(side.orders(), 3))]

    assert len({tuple(line for line in lines if line.startswith(b"Idempotency-Key")) for lines in asked}) == 8
    assert len({(lines[-1], *(line for line in lines if line.startswith(b"Authorization"))) for lines in asked}) == 8
