"""What callers prefer: how long they would wait, and which version of a thing they have."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from api.fields import field

if TYPE_CHECKING:
    from litestar.types import Scope

    from api.fields import Field
    from domain.bookings import Booking

WAIT_S_MAX = 30
"""Proxies give up on a silent answer after a minute; half of it is safe."""

_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,4})\"?", re.ASCII | re.IGNORECASE)
_VERSION = re.compile(r'(?:W/)?"v(\d{1,9})[.\w]*"', re.ASCII)
_ETAG = re.compile(r'(?:W/)?("[^"]*")')

RETRY_AFTER_S = 1
"""When to look at a pending booking again; most are confirmed within 50 ms."""

_KEPT: Field = (b"cache-control", b"private, no-cache")
_ASK_AGAIN: Field = (b"retry-after", b"%d" % RETRY_AFTER_S)


def wait_s(scope: Scope) -> int:
    """For how many seconds the caller would wait (RFC 7240); 0 for no or an odd preference."""
    for part in (field(scope, b"prefer") or "").split(","):
        match = _WAIT.fullmatch(part.split(";", 1)[0].strip())
        if match:
            return min(int(match[1]), WAIT_S_MAX)
    return 0


def booking_fields(booking: Booking, *, waited_s: int = 0) -> list[Field]:
    """The version of a booking, when to ask again while it is pending, and that a preference to wait was followed."""
    fields = [(b"etag", booking_etag(booking).encode()), _KEPT]
    if not booking.final:
        fields.append(_ASK_AGAIN)
    if waited_s:
        fields.append((b"preference-applied", b"wait=%d" % waited_s))
    return fields


def booking_headers(booking: Booking) -> dict[str, str]:
    """The same for an answer of the framework's."""
    return {name.decode(): value.decode() for name, value in booking_fields(booking)}


def booking_etag(booking: Booking) -> str:
    """Changes whenever the booking does."""
    return f'"v{booking.version}.{booking.status}"'


def event_etag(version: int, *parts: object) -> str:
    """An event's version, and what else is shown of it."""
    return f'"v{version}.{".".join(map(str, parts))}"'


def matches(scope: Scope, etag: str) -> bool:
    """Whether the caller has this version already (`If-None-Match`)."""
    wanted = field(scope, b"if-none-match")
    if wanted is None:
        return False
    return wanted.strip() == "*" or etag in _ETAG.findall(wanted)


def expected_version(scope: Scope) -> int | None:
    """The version the caller means to change (`If-Match`), None when any will do.

    Only the version of an event counts: what was sold since it was read is no change of it. A tag that
    none of ours could be stands for version 0, which no event has.
    """
    wanted = (field(scope, b"if-match") or "*").strip()
    if wanted == "*":
        return None
    match = _VERSION.match(wanted)
    return int(match[1]) if match else 0


def accepts(scope: Scope, media_type: str) -> bool:
    """Whether the caller asks for this media type by its name."""
    offered = (field(scope, b"accept") or "").lower().split(",")
    return media_type in {each.split(";", 1)[0].strip() for each in offered}
