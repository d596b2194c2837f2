"""Preferences and conditions of requests: how long to wait, which media type, which version the caller has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec import structs

from api.http.headers import field, fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.types import Scope

    from domain.kernel.bookings import Booking
    from domain.sales.payments import Balance

WAIT_S_MAX = 30
"""Common proxies give up after a minute without data; half of that is safe."""

_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,4})\"?", re.ASCII | re.IGNORECASE)
_VERSION = re.compile(r'"v(\d{1,9})[.\w]*"', re.ASCII)
_TAG = re.compile(r'(W/)?("[^"]*")')
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)

NO_VERSION = 0
"""A version that nothing has."""

RETRY_AFTER_S = 1
"""When to poll a pending booking again. Most are confirmed within 50 ms."""


def wait_s(scope: Scope) -> int:
    """How many seconds the caller is willing to wait (RFC 7240); 0 without a valid preference."""
    preferences = field(scope, b"prefer")
    if preferences is None:
        return 0
    for part in preferences.split(","):
        match = _WAIT.fullmatch(part.split(";", 1)[0].strip())
        if match:
            return min(int(match[1]), WAIT_S_MAX)
    return 0


def booking_headers(booking: Booking, balance: Balance | None = None, *, waited_s: int = 0) -> dict[str, str]:
    """The header fields of an answer that shows a booking.

    They tell its version, when to ask again while it is pending, and whether a preference to wait was followed.
    """
    headers = {"etag": booking_etag(booking, balance), "cache-control": "private, no-cache"}
    if not booking.final:
        headers["retry-after"] = str(RETRY_AFTER_S)
    if waited_s:
        headers["preference-applied"] = f"wait={waited_s}"
    return headers


def booking_etag(booking: Booking, balance: Balance | None = None) -> str:
    """The entity tag of a booking, which changes with it, and with what was paid for it."""
    money = "".join(f".{amount}" for amount in structs.astuple(balance)) if balance else ""
    return f'"v{booking.version}.{booking.status}{money}"'


def event_etag(version: int, *parts: object) -> str:
    """The entity tag of an event: its version, and `parts` that are shown with it."""
    return f'"v{version}.{".".join(map(str, parts))}"'


def version_etag(version: int) -> str:
    """The entity tag of a thing that its version tells: a ticket type, a pool or a promo code."""
    return f'"v{version}"'


def matches(scope: Scope, etag: str) -> bool:
    """Whether the caller has this version already (`If-None-Match`). Weak tags match, too."""
    tags = fields(scope, b"if-none-match")
    if not tags:
        return False
    wanted = ",".join(tags)
    return wanted.strip() == "*" or etag in (tag for _, tag in _TAG.findall(wanted))


def expected_version(scope: Scope, current: int) -> int | None:
    """The version that the caller expects (`If-Match`), None without a condition.

    It is the current version if the caller lists it, otherwise NO_VERSION. Sales do not change the version of an event.
    A weak tag matches nothing (RFC 9110, 13.1.1).
    """
    lines = fields(scope, b"if-match")
    wanted = ",".join(lines)
    if not lines or wanted.strip() == "*":
        return None
    versions = [_VERSION.fullmatch(tag) for weak, tag in _TAG.findall(wanted) if not weak]
    return current if current in {int(version[1]) for version in versions if version} else NO_VERSION


def preferred(scope: Scope, *offers: str) -> str:
    """The media type of `offers` that the caller prefers (RFC 9110, 12.5.1).

    Among equal weights, the more specific range counts, then the one that is listed first. The first offer is used for
    callers without a preference, and for callers that accept none of the offers.
    """
    accepted = fields(scope, b"accept")
    if not accepted or accepted == ["*/*"] or accepted == [offers[0]]:
        return offers[0]
    accept = ",".join(accepted).lower()
    ranges = list(_weighted(accept))
    ranked = [(_rank(offer, ranges), offer) for offer in offers]
    best = max(rank for rank, _ in ranked)
    return next(offer for rank, offer in ranked if rank == best) if best > NOT_ACCEPTED else offers[0]


NOT_ACCEPTED = (0.0, 0, 0)


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int, int]:
    """Weight, specificity and position of the most specific range for an offer; NOT_ACCEPTED without a weight."""
    exactness = {"*/*": 1, f"{offer.partition('/')[0]}/*": 2, offer: 3}
    fitting = [(exactness[name], -index, weight) for index, (name, weight) in enumerate(ranges) if name in exactness]
    if not fitting:
        return NOT_ACCEPTED
    exact, position, weight = max(fitting)
    return (weight, exact, position) if weight else NOT_ACCEPTED


def accepts_gzip(scope: Scope) -> bool:
    """Whether an answer may be compressed (RFC 9110, 12.5.3)."""
    weights = dict(_weighted(",".join(fields(scope, b"accept-encoding")).lower()))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighted(value: str) -> Iterator[tuple[str, float]]:
    """The members of a list with their weights, without members whose weight is invalid."""
    for member in value.split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name and _WEIGHT.fullmatch(weight):
            yield name, float(weight)


def say_varies(scope: Any, name: bytes) -> None:  # noqa: ANN401  (has keys of ours)
    """Add a `Vary` field: caches are told that the answer depends on a header field of the request."""
    scope["reply"].fields.append((b"vary", name))
