"""What templates make of values: times at the venue, prices, and text that is never markup."""

from __future__ import annotations

import pytest

from api.pages.rendering import _moment, _money, amount


@pytest.mark.parametrize(
    ("starts_at", "zone", "shown"),
    [
        ("2027-07-01T18:00:00Z", "Europe/Berlin", "Thursday, 1 July 2027, 20:00"),
        ("2027-12-01T19:00:00Z", "Europe/Berlin", "Wednesday, 1 December 2027, 20:00"),
        ("2027-12-01T19:00:00Z", "America/Vancouver", "Wednesday, 1 December 2027, 1"),
        ("2027-12-01T19:00:00Z", None, "Wednesday, 1 December 2027, 19:00 UTC"),
    ],
)
def test_a_time_is_that_of_the_venue(starts_at, zone, shown):
    told = _moment(starts_at, {"time_zone": zone})

    assert shown in told
    assert f'datetime="{starts_at}" data-zone="{zone or ""}"' in told


@pytest.mark.parametrize(
    ("minor", "decimals", "shown"),
    [(1250, 2, "12.50"), (5, 2, "0.05"), (1250, 0, "1250"), (1250, 3, "1.250"), (0, 2, "0.00"), (7, None, "7")],
)
def test_an_amount_has_the_decimals_of_its_currency(minor, decimals, shown):
    assert amount(minor, decimals) == shown


def test_a_price_of_nothing_is_free():
    assert _money(0, {"currency": "EUR", "currency_decimals": 2}) == "Free"
    assert "12.50 EUR" in _money(1250, {"currency": "EUR", "currency_decimals": 2})
