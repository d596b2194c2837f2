from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from domain.kernel.refusals import Invalid
from domain.sales.starts import Start, start_of

BERLIN = "Europe/Berlin"
EVENING = datetime(2027, 7, 1, 20)  # noqa: DTZ001  (a local time)
EVENING_UTC = datetime(2027, 7, 1, 18, tzinfo=UTC)
SET_BACK = datetime(2027, 10, 31, 2, 30)  # noqa: DTZ001  (a local time that comes twice)
FIRST, SECOND = datetime(2027, 10, 31, 0, 30, tzinfo=UTC), datetime(2027, 10, 31, 1, 30, tzinfo=UTC)

CURRENT = Start(BERLIN, EVENING_UTC, EVENING)
MOVED = Start(BERLIN, EVENING_UTC + timedelta(hours=1), EVENING)
"""An event whose instant was computed before the zone got its present rules."""


def at(hours, local=EVENING):
    return local.replace(tzinfo=timezone(timedelta(hours=hours)))


def refused(**given):
    with pytest.raises(Invalid) as caught:
        start_of(**given)
    (error,) = caught.value.facts["errors"]
    return error["pointer"], error["message"]


@pytest.mark.parametrize(
    "given",
    [
        {"starts_at": at(2)},
        {"starts_at": EVENING_UTC},
        {"starts_at_local": EVENING},
        {"starts_at": EVENING_UTC, "starts_at_local": EVENING},
    ],
)
def test_an_instant_and_a_local_time_give_the_same_start(given):
    assert start_of(time_zone=BERLIN, **given) == CURRENT


def test_an_offset_says_which_of_two_local_times_is_meant():
    assert start_of(time_zone=BERLIN, starts_at=at(2, SET_BACK)).starts_at == FIRST
    assert start_of(time_zone=BERLIN, starts_at=at(1, SET_BACK)).starts_at == SECOND
    assert start_of(time_zone=BERLIN, starts_at=SECOND, starts_at_local=SET_BACK).starts_at == SECOND
    assert start_of(time_zone=BERLIN, starts_at_local=SET_BACK).starts_at == FIRST


def test_what_contradicts_itself_is_refused():
    assert refused(time_zone="CET", starts_at=EVENING_UTC)[0] == "/time_zone"
    assert refused(time_zone=BERLIN) == ("/starts_at", "is required, unless there is starts_at_local")
    assert refused(time_zone=BERLIN, starts_at=at(1)) == (
        "/starts_at",
        "has the offset +01:00, but clocks in Europe/Berlin are at +02:00 then",
    )
    assert refused(time_zone=BERLIN, starts_at=at(1, EVENING - timedelta(hours=1)), current=CURRENT)[0] == "/starts_at"
    assert refused(time_zone=BERLIN, starts_at=at(2), starts_at_local=SET_BACK) == (
        "/starts_at_local",
        "is not the local time of starts_at in Europe/Berlin; give one of them",
    )
    skipped = datetime(2027, 3, 28, 2, 30)  # noqa: DTZ001  (a local time)
    assert refused(time_zone=BERLIN, starts_at_local=skipped)[0] == "/starts_at_local"


def test_another_zone_alone_keeps_the_instant():
    moved = start_of(time_zone="America/New_York", current=CURRENT)

    assert moved == Start("America/New_York", EVENING_UTC, datetime(2027, 7, 1, 14))  # noqa: DTZ001


def test_another_zone_with_the_local_time_keeps_the_local_time():
    moved = start_of(time_zone="America/New_York", starts_at_local=EVENING, current=CURRENT)

    assert moved == Start("America/New_York", datetime(2027, 7, 2, tzinfo=UTC), EVENING)


def test_a_start_that_is_sent_back_stays_what_it_is():
    second = Start(BERLIN, SECOND, SET_BACK)

    assert start_of(time_zone=BERLIN, starts_at_local=SET_BACK, current=second) is second
    assert start_of(time_zone=BERLIN, starts_at=SECOND, current=second) is second
    assert start_of(time_zone=BERLIN, starts_at=MOVED.starts_at, starts_at_local=EVENING, current=MOVED) is MOVED


def test_new_rules_of_a_zone_move_a_start_only_if_its_local_time_is_given_again():
    assert (CURRENT.moved, MOVED.moved) == (False, True)
    assert MOVED.right_instants == [EVENING_UTC]
    assert start_of(time_zone=BERLIN, starts_at_local=EVENING, current=MOVED) == CURRENT


def test_a_start_in_an_unknown_zone_has_moved():
    assert Start("Europe/Atlantis", EVENING_UTC, EVENING).moved


@pytest.mark.parametrize("year", [1, 9999])
@pytest.mark.parametrize("hours", [-14, 0, 14])
def test_a_year_that_cannot_be_converted_is_left_to_the_rule_about_years(year, hours):
    instant = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=hours)))

    assert start_of(time_zone="Asia/Tokyo", starts_at=instant).starts_at == instant
