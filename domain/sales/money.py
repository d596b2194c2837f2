"""Money: integers of a currency's minor unit, discounts, and what is kept of a line of an order. Pure.

Nothing here is a fraction. A price of 12.50 EUR is 1250, one of 1250 JPY is 1250.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

if TYPE_CHECKING:
    from collections.abc import Sequence

_CODES = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """
        AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP
        CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES
        KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK
        NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB
        TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
    """,
    3: "BHD IQD JOD KWD LYD OMR TND",
}

DECIMALS = {code: decimals for decimals, codes in _CODES.items() for code in codes.split()}
"""The number of decimals of each currency: the exponent of ISO 4217, list one of 1 January 2026 (amendment 180).

The standard decides, never CLDR (Babel, `Intl` of browsers): its numbers are what is customary in print, and they
change between releases. Left out are codes in which nothing has a price: funds codes (BOV, CHE, CHW, CLF, COU, MXV,
USN, UYI, XAD), the index of wages UYW, and codes without a minor unit (metals, XDR, XSU, XUA, the bond units XBA to
XBD, XTS, XXX).
"""

Currency = Annotated[
    str,
    Meta(
        pattern="^[A-Z]{3}$",
        examples=["EUR"],
        description="An active currency of ISO 4217, in capitals. Its number of decimals is that of the standard.",
    ),
]
"""The code of a currency in a body; `broken_currency` finds what the pattern cannot."""

PRICE_MINOR_MAX = 10**12
"""The highest price of a ticket, in minor units: some thousand dollars in the cheapest currency with decimals, IRR.

An order has at most 100 tickets, so its total is at most 10^14. JSON numbers are exact to 2^53, about 9 x 10^15; the
`bigint` of PostgreSQL ends at about 9.2 x 10^18. Sums over orders are `numeric` in PostgreSQL and have no limit.
"""

ORDER_TICKETS_MAX = 100
"""Tickets of an order, over all its lines."""

TOTAL_MINOR_MAX = PRICE_MINOR_MAX * ORDER_TICKETS_MAX
"""The highest total of an order, in minor units."""

PERCENT_MAX = 100


def broken_currency(code: str) -> str | None:
    """What is wrong with the code of a currency, None if it is in DECIMALS."""
    return None if code in DECIMALS else "must be the code of an active currency of ISO 4217, such as EUR"


def percent_off(sum_minor: int, percent: int) -> int:
    """The discount of a line by a whole percentage from 1 to 100, rounded once, half up.

    Whole percentages are enough for a promo code, and integers stay exact. Half up means that half a minor unit is
    rounded in favour of the buyer. The discount is never above the sum.
    """
    return (sum_minor * percent + PERCENT_MAX // 2) // PERCENT_MAX


def amount_off(amount_minor: int, sums_minor: Sequence[int]) -> list[int]:
    """The discount of each line when an amount is taken off an order.

    The amount, at most the total, is shared in proportion to the sums of the lines. Each share is rounded down; the
    minor units that are left go to the largest remainders, to the earlier line between equals. So the shares add up
    exactly, and none is above the sum of its line.
    """
    total = sum(sums_minor)
    taken = min(amount_minor, total)
    if taken == 0:
        return [0] * len(sums_minor)
    shares, remainders = zip(*(divmod(taken * each, total) for each in sums_minor), strict=True)
    largest_first = sorted(range(len(shares)), key=lambda line: -remainders[line])
    raised = set(largest_first[: taken - sum(shares)])
    return [share + (line in raised) for line, share in enumerate(shares)]


def kept_minor(sum_minor: int, *, quantity: int, kept: int) -> int:
    """The sum of a line of `quantity` tickets after it is reduced to `kept` of them.

    The sum of a line is spread over its tickets once: the first `sum_minor % quantity` tickets cost one minor unit more
    than the others. Those that are kept are the first ones. So it makes no difference in how many steps a line is
    reduced, and a line without tickets costs 0.
    """
    if kept == 0:
        return 0
    unit_minor, dearer = divmod(sum_minor, quantity)
    return kept * unit_minor + min(kept, dearer)
