from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sales import zones
from domain.sales.zones import (
    ZONE_CHARS_MAX,
    NoSuchTime,
    broken_offset,
    broken_zone,
    instant_of,
    instants,
    local_time,
    zone_data_version,
    zone_names,
)

SET_FORWARD = datetime(2027, 3, 28, 2, 30)  # noqa: DTZ001  (a local time)
SET_BACK = datetime(2027, 10, 31, 2, 30)  # noqa: DTZ001  (a local time)

MOMENTS = st.datetimes(datetime(2000, 1, 2), datetime(2100, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001


@pytest.mark.parametrize(
    "name",
    ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Asia/Kolkata", "Asia/Calcutta", "Europe/Kiev"],
)
def test_a_zone_named_after_a_place_is_accepted_by_its_newer_and_its_older_name(name):
    assert broken_zone(name) is None


@pytest.mark.parametrize(
    "name",
    [
        *("CET", "MET", "EET", "WET", "EST", "HST", "EST5EDT", "CST6CDT", "GMT", "UCT", "Zulu"),
        *("Etc/GMT+5", "Etc/UTC", "GB", "Japan", "US/Pacific", "Canada/Eastern", "Factory"),
        *("localtime", "posixrules", "posix/Europe/Berlin", "right/Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3"),
        *("europe/berlin", "Europe/", "Europe", "Europe/../Asia/Tokyo", "/etc/passwd", "Europe/Atlantis", "+02:00", ""),
    ],
)
def test_a_name_of_no_place_is_refused(name):
    assert broken_zone(name) == (
        "must be UTC or a zone of the IANA database that is named after a place, such as Europe/Berlin"
    )


def test_every_accepted_zone_has_rules_and_fits_the_body():
    for name in zone_names():
        assert len(name) <= ZONE_CHARS_MAX
        assert local_time(datetime(2026, 1, 1, tzinfo=UTC), name).year in {2025, 2026}


def test_the_rules_come_from_the_locked_package_and_not_from_the_system(tmp_path):
    wrong = tmp_path / "Asia" / "Tokyo"
    wrong.parent.mkdir()
    wrong.write_bytes((zones.files("tzdata") / "zoneinfo" / "America" / "New_York").read_bytes())
    zones._rules.cache_clear()
    zoneinfo.reset_tzpath([str(tmp_path)])
    zoneinfo.ZoneInfo.clear_cache()
    try:
        instant = datetime(2027, 7, 1, 10, tzinfo=UTC)

        assert instant.astimezone(zoneinfo.ZoneInfo("Asia/Tokyo")).hour == 6
        assert local_time(instant, "Asia/Tokyo").hour == 19
    finally:
        zoneinfo.reset_tzpath()
        zoneinfo.ZoneInfo.clear_cache()


def test_the_version_of_the_rules_is_known():
    year, _, number = zone_data_version().partition(".")

    assert (int(year), int(number)) >= (2026, 6)


def test_a_local_time_in_summer_and_one_in_winter_have_different_offsets():
    summer, winter = datetime(2027, 7, 1, 20), datetime(2027, 12, 1, 20)  # noqa: DTZ001

    assert instant_of(summer, "Europe/Berlin") == datetime(2027, 7, 1, 18, tzinfo=UTC)
    assert instant_of(winter, "Europe/Berlin") == datetime(2027, 12, 1, 19, tzinfo=UTC)


def test_a_local_time_that_the_clocks_skip_is_refused():
    with pytest.raises(NoSuchTime) as refused:
        instant_of(SET_FORWARD, "Europe/Berlin")

    assert str(refused.value) == (
        "does not exist in Europe/Berlin: the clocks skip this time when they are set forward"
    )
    assert instants(SET_FORWARD, "Europe/Berlin") == []


def test_a_whole_day_that_a_country_left_out_is_refused():
    assert instants(datetime(2011, 12, 30, 12), "Pacific/Apia") == []  # noqa: DTZ001


def test_a_local_time_that_comes_twice_is_the_first_one():
    first, second = datetime(2027, 10, 31, 0, 30, tzinfo=UTC), datetime(2027, 10, 31, 1, 30, tzinfo=UTC)

    assert instants(SET_BACK, "Europe/Berlin") == [first, second]
    assert instant_of(SET_BACK, "Europe/Berlin") == first


@pytest.mark.parametrize("year", [1, 1999, 2101, 9999])
def test_a_local_time_of_another_century_is_refused(year):
    for local in (datetime(year, 1, 1), datetime(year, 12, 31, 23, 59)):  # noqa: DTZ001
        with pytest.raises(NoSuchTime, match="must be in 2000 to 2100"):
            instant_of(local, "Pacific/Kiritimati")


@pytest.mark.parametrize(("hours", "fits"), [(1, False), (2, True), (0, True), (-5, False)])
def test_an_offset_must_be_that_of_the_zone_or_none(hours, fits):
    summer = datetime(2027, 7, 1, 20, tzinfo=timezone(timedelta(hours=hours)))

    assert (broken_offset(summer, "Europe/Berlin") is None) is fits


def test_the_offset_tells_which_of_two_local_times_is_meant():
    for hours in (1, 2):
        assert broken_offset(SET_BACK.replace(tzinfo=timezone(timedelta(hours=hours))), "Europe/Berlin") is None


def test_a_wrong_offset_is_refused_with_the_right_one():
    winter = datetime(2027, 1, 1, 20, tzinfo=timezone(-timedelta(hours=4)))

    assert broken_offset(winter, "America/St_Johns") == (
        "has the offset -04:00, but clocks in America/St_Johns are at -03:30 then"
    )


@pytest.mark.parametrize("year", [1, 9999])
def test_the_offset_of_a_year_that_cannot_be_converted_is_left_to_the_rule_about_years(year):
    for hours in (-23, 23):
        assert broken_offset(datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=hours))), "Asia/Tokyo") is None


@given(MOMENTS, st.sampled_from(sorted(zone_names())))
def test_an_instant_is_one_of_those_that_its_local_time_may_mean(moment, zone):
    found = instants(local_time(moment, zone), zone)

    assert moment in found
    assert found == sorted(found)
    assert len(found) <= 2
