"""Request lines, header fields and bytes that break a rule of HTTP or of the API."""

from __future__ import annotations

from tests.api.bad_input.answers import (
    NO_EVENT,
    NO_METHOD,
    NOBODYS_ID,
    NOT_FOUND,
)

_ID = NOBODYS_ID.encode()

PATHS = {
    b"/api/v1": NOT_FOUND,
    b"/api/v1/": NOT_FOUND,
    b"/api/v2/events": NOT_FOUND,
    b"/events": NOT_FOUND,
    b"/API/V1/EVENTS": NOT_FOUND,
    b"/api/v1/Events": NOT_FOUND,
    b"/api/v1/nothing": NOT_FOUND,
    b"/api/v1/events.json": NOT_FOUND,
    b"/api/v1/events;a=b": NOT_FOUND,
    b"/api/v1/events%20": NOT_FOUND,
    b"/api/v1/events%00": NOT_FOUND,
    b"/api/v1/events%0a": NOT_FOUND,
    b"/api/v1/events%0d%0aSet-Cookie:%20a=b": NOT_FOUND,
    b"/api/v1/events/..": NOT_FOUND,
    b"/api/v1/events/.": NOT_FOUND,
    b"/api/v1/events/%2e%2e": NOT_FOUND,
    b"/api/v1/events/%2e%2e/%2e%2e/metrics": NOT_FOUND,
    b"/api/v1/../../etc/passwd": NOT_FOUND,
    b"/api/v1/..%2f..%2fetc%2fpasswd": NOT_FOUND,
    b"/api/v1/docs/assets/../../app.py": NOT_FOUND,
    b"/api/v1/docs/assets/..%2f..%2fapp.py": NOT_FOUND,
    b"/api/v1/docs/assets/%2e%2e": NOT_FOUND,
    b"/api/v1/docs/assets/": NOT_FOUND,
    b"/api/v1/docs/assets/swagger-ui.css%00.js": NOT_FOUND,
    b"/api/v1/docs/assets/C:%5Cwindows%5Cwin.ini": NOT_FOUND,
    b"/.env": NOT_FOUND,
    b"/.git/config": NOT_FOUND,
    b"/favicon.ico": NOT_FOUND,
    b"/robots.txt": NOT_FOUND,
    b"/%ff": NOT_FOUND,
    b"/%c0%af": NOT_FOUND,
    b"/%": NOT_FOUND,
    b"/%zz": NOT_FOUND,
    b"/%e2%80%ae": NOT_FOUND,
    b"/health": NOT_FOUND,
    b"/health/LIVE": NOT_FOUND,
    b"/api/v1/events/not-a-uuid": NOT_FOUND,
    b"/api/v1/events/1": NOT_FOUND,
    b"/api/v1/events/*": NOT_FOUND,
    b"/api/v1/events/%00": NOT_FOUND,
    b"/api/v1/events/" + _ID[:-1]: NOT_FOUND,
    b"/api/v1/events/" + _ID + b"0": NOT_FOUND,
    b"/api/v1/events/" + _ID + b"%00": NOT_FOUND,
    b"/api/v1/events/" + _ID + b"%2fstatus": NOT_FOUND,
    b"/api/v1/events/" + _ID + b"/status": NOT_FOUND,
    b"/api/v1/events/" + b"0" * 5_000: NOT_FOUND,
    b"/api/v1/bookings/my-bookings/status": NOT_FOUND,
    b"/api/v1/events/" + _ID: NO_EVENT,
    b"/api/v1/events/" + _ID.upper(): NO_EVENT,
    b"/api/v1/events/%7B" + _ID + b"%7D": NO_EVENT,
    b"/api/v1/events/" + _ID + b"/": NO_EVENT,
    b"/api/v1/events/" + b"0" * 8 + b"-0000-0000-0000-" + b"0" * 12: NO_EVENT,
    b"/api/v1/events/" + b"f" * 8 + b"-ffff-ffff-ffff-" + b"f" * 12: NO_EVENT,
}
"""Asked for with GET, by nobody in particular."""


METHODS = {
    "PUT": NO_METHOD,
    "TRACE": NO_METHOD,
    "PROPFIND": NO_METHOD,
    "LOCK": NO_METHOD,
    "REPORT": NO_METHOD,
    "SEARCH": NO_METHOD,
    "SOURCE": NO_METHOD,
}
"""On every path; HEAD and OPTIONS are answered everywhere, see the test."""


AUTHORIZATIONS = {
    "nothing": "",
    "a scheme": "Bearer",
    "a scheme and a space": "Bearer ",
    "no scheme": "abc.def.ghi",
    "another scheme": "Basic YTpi",
    "one that begins alike": "BearerX abc.def.ghi",
    "a tab": "Bearer\tabc.def.ghi",
    "no token": "Bearer null",
    "three empty parts": "Bearer ..",
    "two parts": "Bearer abc.def",
    "four parts": "Bearer a.b.c.d",
    "no base64": "Bearer !.!.!",
    "no JSON": "Bearer YQ.YQ.YQ",
    "a header that is an array": "Bearer W10.e30.YQ",
    "a header that is null": "Bearer bnVsbA.e30.YQ",
    "no algorithm": "Bearer eyJhbGciOiJub25lIn0.e30.",
    "an algorithm that is a number": "Bearer eyJhbGciOjF9.e30.YQ",
    "a key that is an array": "Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6W119.e30.YQ",
    "a key that is a path": "Bearer eyJhbGciOiJIUzI1NiIsImtpZCI6Ii4uLy4uL2Rldi9udWxsIn0.e30.YQ",
    "5,000 characters": "Bearer " + "x" * 5_000,
    "3,000 points": "Bearer " + "." * 3_000,
    "a deep header": "Bearer " + "W1tb" * 900 + ".e30.YQ",
    "letters of another script": "Bearer ä.ö.ü".encode(),
    "a byte that is no character": b"Bearer \xff\xff",
    "two tokens": "Bearer a.b.c, Bearer d.e.f",
}
"""On every route that needs a token: each is the one 401."""


KEYS = {
    "nothing": [""],
    "256 characters": ["k" * 256],
    "10,000 characters": ["k" * 10_000],
    "a space inside": ["a key"],
    "a tab inside": ["a\tkey"],
    "a letter of another script": ["schlüssel".encode()],
    "a byte that is no character": [b"\xff"],
    "two of them": ["one", "two"],
    "the same twice": ["one", "one"],
}
"""`Idempotency-Key` of a booking: each is 422."""


ODD_HEADERS = {
    "a wait that is none": ("Prefer", "wait=x"),
    "a negative wait": ("Prefer", "wait=-1"),
    "a wait of 5,000 digits": ("Prefer", "wait=" + "9" * 5_000),
    "a wait in other digits": ("Prefer", "wait=٣".encode()),
    "preferences that do not end": ("Prefer", "," * 5_000),
    "an unknown preference": ("Prefer", "handling=strict; a=b"),
    "a tag without quotes": ("If-None-Match", "v1"),
    "3,000 tags": ("If-None-Match", '"v1", ' * 3_000),
    "half a tag": ("If-None-Match", '"'),
    "a language": ("Accept-Language", "x" * 5_000),
    "an unknown media type": ("Accept", "application/" + "x" * 5_000),
    "an encoding": ("Accept-Encoding", "gzip;q=NaN"),
    "a range": ("Range", "bytes=0-18446744073709551615"),
    "a moment": ("If-Modified-Since", "never"),
    "another method": ("X-HTTP-Method-Override", "DELETE"),
    "another path": ("X-Original-URL", "/metrics"),
    "another host": ("X-Forwarded-Host", "evil.example"),
    "1,000 hops": ("X-Forwarded-For", "192.0.2.1, " * 1_000),
    "a hop that is none": ("X-Forwarded-For", "' OR 1=1 --"),
    "a request id that is none": ("X-Request-Id", "a b\tc"),
    "a long request id": ("X-Request-Id", "x" * 5_000),
    "a cookie": ("Cookie", "session=" + "x" * 5_000),
    "a byte that is no character": ("User-Agent", b"\xff\xfe\xfd"),
    "an origin": ("Origin", "null"),
    "an upgrade": ("Upgrade", "h2c"),
    "a trace": ("Traceparent", "00-" + "0" * 5_000),
}
"""On every route that is read: none changes whether it is answered."""


NO_HTTP_AT_ALL = {
    "a word": b"hello\r\n\r\n",
    "another protocol": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a version there is not": b"GET / HTTP/9.9\r\nHost: onsale.test\r\n\r\n",
    "a path that is no ASCII": b"GET /\xff HTTP/1.1\r\nHost: onsale.test\r\n\r\n",
    "no path": b"GET HTTP/1.1\r\nHost: onsale.test\r\n\r\n",
    "no host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /health/live HTTP/1.1\r\nHost: onsale.test\r\nHost: evil.example\r\n\r\n",
    "a host that is none": b"GET /health/live HTTP/1.1\r\nHost: a b/c\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nHost: onsale.test\r\nnothing\r\n\r\n",
    "a header with a space in its name": b"GET / HTTP/1.1\r\nHost: onsale.test\r\nA B: c\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: onsale.test\r\nA: b\x00c\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\nHost: onsale.test\r\nA: b\r\n c\r\n\r\n",
    "a length that is none": b"POST / HTTP/1.1\r\nHost: onsale.test\r\nContent-Length: x\r\n\r\n",
    "a negative length": b"POST / HTTP/1.1\r\nHost: onsale.test\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: onsale.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length beyond numbers": b"POST / HTTP/1.1\r\nHost: onsale.test\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n",
    "a length and chunks": b"POST / HTTP/1.1\r\nHost: onsale.test\r\nContent-Length: 1\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n",
    "an encoding there is not": b"POST / HTTP/1.1\r\nHost: onsale.test\r\nTransfer-Encoding: rot13\r\n\r\n",
    "a chunk that is none": b"POST /api/v1/auth/login HTTP/1.1\r\nHost: onsale.test\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}
"""What is no request: 400, and the connection is closed."""
