"""What callers prefer: how long they would wait, in which form they want an answer, which version they have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from api.http.headers import field, fields

if TYPE_CHECKING:
    from collections.abc import Iterator

    from litestar.types import Scope

    from domain.kernel.bookings import Booking

WAIT_S_MAX = 30
"""Proxies give up on a silent answer after a minute; half of it is safe."""

_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,4})\"?", re.ASCII | re.IGNORECASE)
_VERSION = re.compile(r'"v(\d{1,9})[.\w]*"', re.ASCII)
_TAG = re.compile(r'(W/)?("[^"]*")')
_WEIGHT = re.compile(r"0(?:\.\d{0,3})?|1(?:\.0{0,3})?", re.ASCII)

NO_VERSION = 0
"""Stands for a version that no event has."""

RETRY_AFTER_S = 1
"""When to look at a pending booking again; most are confirmed within 50 ms."""


def wait_s(scope: Scope) -> int:
    """For how many seconds the caller would wait (RFC 7240); 0 for no or an odd preference."""
    for part in (field(scope, b"prefer") or "").split(","):
        match = _WAIT.fullmatch(part.split(";", 1)[0].strip())
        if match:
            return min(int(match[1]), WAIT_S_MAX)
    return 0


def booking_headers(booking: Booking, *, waited_s: int = 0) -> dict[str, str]:
    """The header fields of an answer that shows a booking.

    They tell its version, when to ask again while it is pending, and whether a preference to wait was followed.
    """
    headers = {"etag": booking_etag(booking), "cache-control": "private, no-cache"}
    if not booking.final:
        headers["retry-after"] = str(RETRY_AFTER_S)
    if waited_s:
        headers["preference-applied"] = f"wait={waited_s}"
    return headers


def booking_etag(booking: Booking) -> str:
    """Changes whenever the booking does."""
    return f'"v{booking.version}.{booking.status}"'


def event_etag(version: int, *parts: object) -> str:
    """An event's version, and what else is shown of it."""
    return f'"v{version}.{".".join(map(str, parts))}"'


def matches(scope: Scope, etag: str) -> bool:
    """Whether the caller has this version already (`If-None-Match`): a weak tag of it will do."""
    wanted = ",".join(fields(scope, b"if-none-match"))
    return bool(wanted) and (wanted.strip() == "*" or etag in (tag for _, tag in _TAG.findall(wanted)))


def expected_version(scope: Scope, current: int) -> int | None:
    """The version that the caller means to change (`If-Match`), None when any will do.

    The current one, if the caller lists it, else one that no event has. Only the version of an event counts: what was
    sold since it was read is no change of it. A weak tag is none of ours, and matches nothing (RFC 9110, 13.1.1).
    """
    lines = fields(scope, b"if-match")
    wanted = ",".join(lines)
    if not lines or wanted.strip() == "*":
        return None
    versions = [_VERSION.fullmatch(tag) for weak, tag in _TAG.findall(wanted) if not weak]
    return current if current in {int(version[1]) for version in versions if version} else NO_VERSION


def preferred(scope: Scope, *offers: str) -> str:
    """The media type that the caller prefers of those on offer (RFC 9110, 12.5.1).

    Of equal weights, the one that is named more exactly counts, then the one that is named first. The first on offer
    is for callers without a preference, and for those that accept none of them.
    """
    accept = ",".join(fields(scope, b"accept")).lower()
    if accept in {"", "*/*", offers[0]}:
        return offers[0]
    ranges = list(_weighted(accept))
    ranked = [(_rank(offer, ranges), offer) for offer in offers]
    best = max(rank for rank, _ in ranked)
    return next(offer for rank, offer in ranked if rank == best) if best > NOT_ACCEPTED else offers[0]


NOT_ACCEPTED = (0.0, 0, 0)


def _rank(offer: str, ranges: list[tuple[str, float]]) -> tuple[float, int, int]:
    """Weight, exactness and place of the most exact range for an offer; NOT_ACCEPTED without one of any weight."""
    exactness = {"*/*": 1, f"{offer.partition('/')[0]}/*": 2, offer: 3}
    fitting = [(exactness[name], -place, weight) for place, (name, weight) in enumerate(ranges) if name in exactness]
    if not fitting:
        return NOT_ACCEPTED
    exact, place, weight = max(fitting)
    return (weight, exact, place) if weight else NOT_ACCEPTED


def accepts_gzip(scope: Scope) -> bool:
    """Whether an answer may be compressed (RFC 9110, 12.5.3)."""
    weights = dict(_weighted(",".join(fields(scope, b"accept-encoding")).lower()))
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def _weighted(value: str) -> Iterator[tuple[str, float]]:
    """The members of a list with their weights, without those whose weight is none."""
    for member in value.split(","):
        name, *parameters = (part.strip() for part in member.split(";"))
        weight = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        if name and _WEIGHT.fullmatch(weight):
            yield name, float(weight)


def say_varies(scope: Any, name: bytes) -> None:  # noqa: ANN401  (has keys of ours)
    """Tell caches that the answer depends on a header field of the request."""
    scope["reply"].fields.append((b"vary", name))
