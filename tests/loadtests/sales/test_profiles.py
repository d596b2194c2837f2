"""The profiles keep the published figures for any number of buyers."""

from __future__ import annotations

from random import Random

import pytest

from loadtests.sales.profiles import BUYERS_MAX, EMF_2026, PROFILES, SHMOOCON_2016
from loadtests.sales.target import TargetRefused, loopback_url


def test_two_thousand_people_come_for_650_tickets_unless_told_otherwise() -> None:
    assert SHMOOCON_2016.tickets == 650
    assert SHMOOCON_2016.buyers >= 2_000


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@pytest.mark.parametrize("buyers", [1, 7, 967, BUYERS_MAX])
def test_a_scaled_profile_has_exactly_as_many_buyers(profile, buyers) -> None:
    scaled = profile.scaled(buyers)

    assert scaled.buyers == buyers
    assert len(scaled.arrivals) == len(profile.arrivals)
    assert min(scaled.arrivals) >= 0


def test_a_scaled_profile_keeps_its_curve() -> None:
    assert EMF_2026.scaled(2 * EMF_2026.buyers).arrivals == tuple(2 * count for count in EMF_2026.arrivals)


@pytest.mark.parametrize("buyers", [0, -1, BUYERS_MAX + 1])
def test_the_number_of_buyers_has_a_maximum(buyers) -> None:
    with pytest.raises(ValueError, match="buyers"):
        SHMOOCON_2016.scaled(buyers)


def test_buyers_come_in_the_second_the_profile_says() -> None:
    seconds = [int(moment) for moment in EMF_2026.arrival_seconds(Random(7))]

    assert tuple(seconds.count(second) for second in range(17)) == EMF_2026.arrivals


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://127.8.9.1/", "http://[::1]:80", "http://localhost"])
def test_this_machine_may_be_put_under_load(url) -> None:
    assert loopback_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "http://10.0.0.1:8000",
        "http://0.0.0.0:8000",
        "http://localhost.example.org",
        "http://127.0.0.1@example.org",
        "http://127.0.0.1.example.org",
        "ftp://127.0.0.1",
        "127.0.0.1:8000",
        "",
    ],
)
def test_no_other_machine_may(url) -> None:
    with pytest.raises(TargetRefused):
        loopback_url(url)
