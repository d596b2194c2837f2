from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from domain.kernel.times import from_ms, to_ms, to_ms_up

MILLISECOND = datetime(2026, 11, 28, 7, 14, 23, 302_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("microseconds", "down_ms", "up_ms"),
    [(0, 0, 0), (1, 0, 1), (341, 0, 1), (500, 0, 1), (999, 0, 1), (1_000, 1, 1), (-1, -1, 0)],
)
def test_a_part_of_a_millisecond_is_rounded_down_or_up(microseconds, down_ms, up_ms):
    moment = MILLISECOND + timedelta(microseconds=microseconds)

    rounded = to_ms(moment) - to_ms(MILLISECOND), to_ms_up(moment) - to_ms(MILLISECOND)

    assert rounded == (down_ms, up_ms)


def test_a_time_of_whole_milliseconds_comes_back_as_it_was():
    every = [MILLISECOND + timedelta(days=day, milliseconds=7 * day) for day in range(0, 40_000, 13)]

    assert [from_ms(to_ms(moment)) for moment in every] == every
