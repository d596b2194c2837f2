"""Query parameters that no list takes, and what a search may be for."""

from __future__ import annotations

from tests.api.bad_input.answers import (
    INVALID,
)

LIMITS = {
    "limit=0": INVALID,
    "limit=101": INVALID,
    "limit=-1": INVALID,
    "limit=": INVALID,
    "limit=x": INVALID,
    "limit=1.5": INVALID,
    "limit=0x10": INVALID,
    "limit=%D9%A3": INVALID,
    "limit=%00": INVALID,
    "limit=2147483648": INVALID,
    "limit=9223372036854775808": INVALID,
    "limit=" + "9" * 5_000: INVALID,
    "limit=true": INVALID,
    "limit=null": INVALID,
}


SKIPS = {
    "skip=-1": INVALID,
    "skip=10001": INVALID,
    "skip=x": INVALID,
    "skip=": INVALID,
    "skip=1;DROP%20TABLE%20events": INVALID,
    "skip=9223372036854775808": INVALID,
    "skip=" + "9" * 5_000: INVALID,
}


CURSORS = {
    "cursor=x": INVALID,
    "cursor=": INVALID,
    "cursor=%00": INVALID,
    "cursor=%FF": INVALID,
    "cursor=bnVsbA": INVALID,  # null
    "cursor=W10": INVALID,  # []
    "cursor=e30": INVALID,  # {}
    "cursor=LTE": INVALID,  # -1
    "cursor=MS41": INVALID,  # 1.5
    "cursor=OTIyMzM3MjAzNjg1NDc3NTgwOA": INVALID,  # 2^63
    "cursor=WyIyMDk5LTAxLTAxVDAwOjAwOjAwWiJd": INVALID,  # a moment without an id
    # The year 1 before it, the year 9999 after it, and no offset, each with an id.
    "cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwiMGIwYjBiMGItMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAyIl0": INVALID,
    "cursor=WyI5OTk5LTEyLTMxVDIzOjU5OjU5LTIzOjU5IiwiMGIwYjBiMGItMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAyIl0": INVALID,
    "cursor=WyIyMDk5LTAxLTAxVDAwOjAwOjAwIiwiMGIwYjBiMGItMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAyIl0": INVALID,
    "cursor=" + "W1tb" * 70: INVALID,
    "cursor=" + "x" * 301: INVALID,
}


LONG_SEARCH = {"q=" + "x" * 101: INVALID}


SEARCHES = LONG_SEARCH | {
    "upcoming_only=perhaps": INVALID,
    "upcoming_only=": INVALID,
    "upcoming_only=%00": INVALID,
    "upcoming_only=2": INVALID,
    "status=": INVALID,
    "status=pending": INVALID,
    "status=ON_SALE": INVALID,
    "status=cancelled": INVALID,  # only with mine=true
}


UNKNOWN = dict.fromkeys(
    ("nobody=asked", "=", "%", "%zz", "q[]=a", "q[$ne]=a", "Limit=1", "page=2", "_=1732788000", "nobody"), INVALID
)


QUERIES = {
    "GET /api/v1/events": UNKNOWN | LIMITS | SKIPS | CURSORS | SEARCHES,
    "GET /api/v1/dashboard": UNKNOWN | LIMITS | {"view=": INVALID, "view=admin": INVALID},
    "GET /api/v1/bookings/my-bookings": UNKNOWN | {"skip=1": INVALID} | LIMITS | CURSORS,
    "GET /api/v1/bookings/{event_id}": LIMITS
    | CURSORS
    | LONG_SEARCH
    | {"status=cancelled": INVALID, "status=": INVALID, "bom=perhaps": INVALID},
    "GET /api/v1/admin/users/attendees": LIMITS | SKIPS | CURSORS | LONG_SEARCH,
    "GET /api/v1/admin/users/organizers": LIMITS | SKIPS | CURSORS | LONG_SEARCH,
    "GET /api/v1/admin/audit-log": LIMITS | CURSORS,
}
"""What each list is asked with."""


SEARCHED_FOR = [
    "q=%00",
    "q=a%00b",
    "q=%FF",
    "q=%ED%A0%80",
    "q=%25",
    "q=_",
    "q=%5C",
    "q=%27%20OR%201%3D1%20--",
    "q=%E2%80%AE",
    "q=" + "%5C" * 100,
    "q=" + "%25" * 100,
    "q=",
    "&&&",
    "skip=0&upcoming_only=0",
    "limit=1e1",
    "limit=1.0",
]
"""Odd, and no reason to refuse: each is answered with a page."""
