from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sales.money import (
    DECIMALS,
    ORDER_TICKETS_MAX,
    PRICE_MINOR_MAX,
    TOTAL_MINOR_MAX,
    amount_off,
    broken_currency,
    kept_minor,
    percent_off,
)

BIGINT_MAX = 2**63 - 1
EXACT_IN_JSON_MAX = 2**53

SUMS = st.integers(0, TOTAL_MINOR_MAX)


@pytest.mark.parametrize(
    "code",
    ["AFN", "ALL", "COP", "HUF", "IDR", "IRR", "KPW", "LAK", "LBP", "MGA", "MMK", "PKR", "RSD", "SOS", "SYP", "YER"],
)
def test_the_standard_has_two_decimals_where_print_has_none(code):
    """CLDR, which Babel and browsers follow, has or had 0 for each of them; releases differ in PKR and RSD."""
    assert DECIMALS[code] == 2


@pytest.mark.parametrize(("code", "decimals"), [("IQD", 3), ("TND", 3), ("UGX", 0), ("ISK", 0), ("CLP", 0), ("MRU", 2)])
def test_other_currencies_that_are_often_wrong_are_as_the_standard_has_them(code, decimals):
    assert DECIMALS[code] == decimals


def test_the_table_has_every_active_currency_and_nothing_else():
    assert len(DECIMALS) == 155
    assert {code: len(code) for code in DECIMALS if len(code) != 3 or not code.isupper()} == {}
    assert {decimals: list(DECIMALS.values()).count(decimals) for decimals in (0, 2, 3)} == {0: 16, 2: 132, 3: 7}


@pytest.mark.parametrize(
    "code",
    [
        *("BGN", "HRK", "ANG", "ZWL", "SLL", "CUC", "VEF", "STD", "MRO", "BYR"),  # withdrawn
        *("CHE", "CHW", "CLF", "COU", "MXV", "USN", "UYI", "UYW", "BOV", "XAD"),  # funds and units of account
        *("XAU", "XAG", "XDR", "XSU", "XUA", "XBA", "XTS", "XXX"),  # no minor unit
        *("eur", "", "EURO", "€"),
    ],
)
def test_what_has_no_prices_is_no_currency(code):
    assert broken_currency(code) == "must be the code of an active currency of ISO 4217, such as EUR"


@pytest.mark.parametrize("code", ["EUR", "XCG", "ZWG", "SLE", "VED", "XAF", "XPF"])
def test_an_active_currency_is_accepted(code):
    assert broken_currency(code) is None


def test_every_total_is_exact_in_json_and_in_postgresql():
    assert PRICE_MINOR_MAX * ORDER_TICKETS_MAX == TOTAL_MINOR_MAX < EXACT_IN_JSON_MAX < BIGINT_MAX


@pytest.mark.parametrize(
    ("sum_minor", "percent", "discount"),
    [
        (1250, 10, 125),
        (1249, 10, 125),
        (1245, 10, 125),
        (1244, 10, 124),
        (1, 50, 1),
        (1, 49, 0),
        (999, 100, 999),
        (0, 7, 0),
    ],
)
def test_a_percentage_is_rounded_half_up(sum_minor, percent, discount):
    assert percent_off(sum_minor, percent) == discount


@given(SUMS, st.integers(1, 100))
def test_a_percentage_is_off_by_half_a_minor_unit_at_most(sum_minor, percent):
    discount = percent_off(sum_minor, percent)

    exact = Fraction(sum_minor * percent, 100)
    assert -Fraction(1, 2) < discount - exact <= Fraction(1, 2)
    assert 0 <= discount <= sum_minor


@pytest.mark.parametrize(
    ("amount", "sums", "shares"),
    [
        (1000, [3000, 1000], [750, 250]),
        (100, [1000, 1000, 1000], [34, 33, 33]),
        (2, [1, 1, 1], [1, 1, 0]),
        (1, [1, 1000], [0, 1]),
        (5000, [3000, 1000], [3000, 1000]),
        (500, [0, 700], [0, 500]),
        (500, [0, 0], [0, 0]),
        (500, [], []),
        (0, [3000, 1000], [0, 0]),
    ],
)
def test_an_amount_off_is_shared_by_the_lines(amount, sums, shares):
    assert amount_off(amount, sums) == shares


@given(SUMS, st.lists(SUMS, max_size=20))
def test_the_shares_add_up_and_none_is_above_its_line_or_off_by_a_minor_unit(amount, sums):
    shares = amount_off(amount, sums)

    total = sum(sums)
    assert sum(shares) == min(amount, total)
    for share, line in zip(shares, sums, strict=True):
        assert 0 <= share <= line
        assert abs(share - Fraction(min(amount, total) * line, total or 1)) < 1


@given(st.data(), SUMS, st.integers(1, ORDER_TICKETS_MAX))
def test_a_line_reduced_in_steps_costs_what_it_costs_reduced_at_once(data, sum_minor, quantity):
    between = data.draw(st.integers(1, quantity))
    kept = data.draw(st.integers(0, between))

    once = kept_minor(sum_minor, quantity=quantity, kept=kept)

    first = kept_minor(sum_minor, quantity=quantity, kept=between)
    assert kept_minor(first, quantity=between, kept=kept) == once


@given(SUMS, st.integers(1, ORDER_TICKETS_MAX))
def test_each_ticket_that_is_kept_costs_its_unit_amount(sum_minor, quantity):
    sums = [kept_minor(sum_minor, quantity=quantity, kept=kept) for kept in range(quantity + 1)]

    units = [after - before for before, after in pairwise(sums)]
    assert (sums[0], sums[-1]) == (0, sum_minor)
    assert max(units) - min(units) <= 1
    assert units == sorted(units, reverse=True)
