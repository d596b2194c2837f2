"""What the comparison of the two durabilities asks for."""

from __future__ import annotations

from uuid import uuid4

from loadtests.costs.durability import orders


def test_nobody_books_one_event_twice_and_no_two_bookings_have_one_key():
    asked = [each.split(b"\r\n") for each in orders([uuid4(), uuid4()], ["one", "two", "three", "four"])]

    assert len(asked) == 8
    assert len({tuple(line for line in lines if line.startswith(b"Idempotency-Key")) for lines in asked}) == 8
    assert len({(lines[-1], *(line for line in lines if line.startswith(b"Authorization"))) for lines in asked}) == 8
