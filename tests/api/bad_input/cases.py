"""Bad input, by hand: what is sent, and the status and code it is answered with. Data only.

`NOBODYS_ID` is an id that nothing has. Everything that is answered is a problem; no input makes a 5xx.
"""

from __future__ import annotations

NOBODYS_ID = "0b0b0b0b-0000-4000-8000-000000000002"
_ID = NOBODYS_ID.encode()

MALFORMED = (400, "malformed_body")
INVALID = (422, "invalid_request")
TOO_LARGE = (413, "body_too_large")
OTHER_TYPE = (415, "unsupported_media_type")
NOT_FOUND = (404, "not_found")
NO_EVENT = (404, "event_not_found")
NO_METHOD = (405, "method_not_allowed")
NOBODY = (401, "unauthenticated")
NO_HTTP = (400, "bad_request")

BODY_BYTES_MAX = 65_536

BODIES = {
    "nothing": (b"", MALFORMED),
    "a space": (b" ", MALFORMED),
    "a NUL": (b"\x00", MALFORMED),
    "null": (b"null", INVALID),
    "true": (b"true", INVALID),
    "a number": (b"1", INVALID),
    "a text": (b'"{}"', INVALID),
    "an array": (b"[]", INVALID),
    "an object in an array": (b"[{}]", INVALID),
    "an empty object": (b"{}", INVALID),
    "a byte order mark": (b"\xef\xbb\xbf{}", MALFORMED),
    "UTF-16 with a mark": (b"\xff\xfe{\x00}\x00", MALFORMED),
    "UTF-16 without one": (b"{\x00}\x00", MALFORMED),
    "UTF-32": (b"{\x00\x00\x00}\x00\x00\x00", MALFORMED),
    "two objects": (b"{} {}", MALFORMED),
    "a byte too many": (b"{}x", MALFORMED),
    "a NUL too many": (b"{}\x00", MALFORMED),
    "an object that does not end": (b"{", MALFORMED),
    "an object that does not begin": (b"}", MALFORMED),
    "a name without a value": (b'{"a"}', MALFORMED),
    "a name without quotes": (b"{a: 1}", MALFORMED),
    "quotes of another kind": (b"{'a': 1}", MALFORMED),
    "a comma too many": (b'{"a": 1,}', MALFORMED),
    "a comma too few": (b'{"a": 1 "b": 2}', MALFORMED),
    "a comment": (b"{} // nothing", MALFORMED),
    "a comment inside": (b'{/* nothing */"a": 1}', MALFORMED),
    "not a number": (b'{"a": NaN}', MALFORMED),
    "infinity": (b'{"a": Infinity}', MALFORMED),
    "less than everything": (b'{"a": -Infinity}', MALFORMED),
    "a leading zero": (b'{"a": 01}', MALFORMED),
    "a plus": (b'{"a": +1}', MALFORMED),
    "no digit before the point": (b'{"a": .5}', MALFORMED),
    "no digit after the point": (b'{"a": 1.}', MALFORMED),
    "an exponent without digits": (b'{"a": 1e}', MALFORMED),
    "hexadecimal": (b'{"a": 0x10}', MALFORMED),
    "a number beyond floats": (b'{"a": 1e400}', MALFORMED),
    "a number of 5,000 digits": (b'{"a": 1' + b"0" * 5_000 + b"}", MALFORMED),
    "undefined": (b'{"a": undefined}', MALFORMED),
    "Python's None": (b'{"a": None}', MALFORMED),
    "a name that is no UTF-8": (b'{"\xff": 1}', MALFORMED),
    "an overlong slash": (b'{"a": "\xc0\xaf"}', MALFORMED),
    "half a character": (b'{"a": "\xe2\x82"}', MALFORMED),
    "a surrogate as UTF-8": (b'{"a": "\xed\xa0\x80"}', MALFORMED),
    "a character beyond Unicode": (b'{"a": "\xf4\x90\x80\x80"}', MALFORMED),
    "a high surrogate alone": (b'{"a": "\\ud800"}', MALFORMED),
    "a low surrogate alone": (b'{"a": "\\udc00"}', MALFORMED),
    "a surrogate in a name": (b'{"\\ud800": 1}', MALFORMED),
    "a bare control character": (b'{"a": "\x01"}', MALFORMED),
    "a bare line break": (b'{"a": "\n"}', MALFORMED),
    "an escape there is not": (b'{"a": "\\x41"}', MALFORMED),
    "an escape cut short": (b'{"a": "\\u00"}', MALFORMED),
    "200,000 arrays": (b"[" * 200_000, TOO_LARGE),
    "60,000 arrays": (b"[" * 60_000, MALFORMED),
    "30,000 arrays that end": (b"[" * 30_000 + b"]" * 30_000, MALFORMED),
    "13,000 objects": (b'{"a":' * 13_000, MALFORMED),
    "30,000 arrays in a field": (b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}", MALFORMED),
    "64 KiB less a byte": (b'{"a": "' + b"x" * (BODY_BYTES_MAX - 10) + b'"}', INVALID),
    "64 KiB": (b'{"a": "' + b"x" * (BODY_BYTES_MAX - 9) + b'"}', INVALID),
    "64 KiB and a byte": (b'{"a": "' + b"x" * (BODY_BYTES_MAX - 8) + b'"}', TOO_LARGE),
    "a megabyte": (b" " * 1_000_000, TOO_LARGE),
    "10,000 fields": (b"{" + b",".join(b'"%d":0' % n for n in range(6_000)) + b"}", INVALID),
    "a field of the language's": (b'{"__class__": {"__init__": 1}}', INVALID),
    "a field of another language's": (b'{"__proto__": {"admin": true}, "constructor": 1}', INVALID),
    "a field without a name": (b'{"": 1}', INVALID),
    "a field with a NUL for a name": (b'{"\\u0000": 1}', INVALID),
    "a field named like a path": (b'{"../../etc/passwd": 1}', INVALID),
    "a name given twice": (b'{"a": 1, "a": 1}', MALFORMED),
    "a name given twice, once escaped": (b'{"a": 1, "\\u0061": 1}', MALFORMED),
    "a name given twice in a field": (b'{"a": {"b": 1, "b": 1}}', MALFORMED),
    "a name given twice in an array": (b'[{"b": 1, "b": 1}]', MALFORMED),
    "a form": (b"email=a%40example.org&password=x", MALFORMED),
    "XML with an entity": (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>', MALFORMED),
    "YAML with a constructor": (b"!!python/object/apply:os.system ['id']", MALFORMED),
    "a pickle": (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00\x8c\x01a.", MALFORMED),
    "msgpack": (b"\x81\xa1a\x01", MALFORMED),
    "gzip": (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\xae\x05\x00", MALFORMED),
}
"""Sent to every route that takes a body, as whoever may call it."""

MEDIA_TYPES = {
    "text/plain": OTHER_TYPE,
    "text/json": OTHER_TYPE,
    "application/x-www-form-urlencoded": OTHER_TYPE,
    "multipart/form-data; boundary=x": OTHER_TYPE,
    "application/xml": OTHER_TYPE,
    "application/msgpack": OTHER_TYPE,
    "application/json5": OTHER_TYPE,
    "application/jsonp": OTHER_TYPE,
    "application/problem+json": OTHER_TYPE,
    "application/": OTHER_TYPE,
    "json": OTHER_TYPE,
    "*/*": OTHER_TYPE,
    "application/json, text/plain": OTHER_TYPE,
    "application/json; charset=utf-16": OTHER_TYPE,
    "application/json; a=b; charset=iso-8859-1": OTHER_TYPE,
    "application/json; charset=": OTHER_TYPE,
    'application/json; Charset="UTF-8"': INVALID,
    "application/json;charset=utf-8": INVALID,
    "APPLICATION/JSON": INVALID,
    "application/json;": INVALID,
}
"""Of the body `{}`, which breaks a rule of every route: that one is told only where the type is JSON."""

INTEGERS = {
    "less than nothing": b"-1",
    "nothing": b"0",
    "less than nothing, in disguise": b"-0",
    "2^31": b"2147483648",
    "2^53 + 1": b"9007199254740993",
    "2^63 - 1": b"9223372036854775807",
    "2^63": b"9223372036854775808",
    "-2^63 - 1": b"-9223372036854775809",
    "2^64": b"18446744073709551616",
    "10^400": b"1" + b"0" * 400,
    "-10^400": b"-1" + b"0" * 400,
    "one and a half": b"1.5",
    "one, with an exponent for a fraction": b"15e-1",
    "a text": b'"2"',
    "a text of other digits": '"٢"'.encode(),
    "an empty text": b'""',
    "true": b"true",
    "false": b"false",
    "null": b"null",
    "an array": b"[1]",
    "an object": b'{"$gt": 0}',
}
"""For every field that counts something: each is 422."""

LINES = {
    "a NUL": r'"a name\u0000"',
    "a bell": r'"a name\u0007"',
    "an escape sequence": r'"\u001b[31ma name"',
    "delete": r'"a name\u007f"',
    "next line": r'"a name\u0085"',
    "a tab": r'"a\tname"',
    "a line break": r'"a\nname"',
    "a carriage return": r'"a\rname"',
    "a line separator": r'"a\u2028name"',
    "a paragraph separator": r'"a\u2029name"',
    "right to left from here": r'"a name\u202egnp.exe"',
    "an embedding": r'"a \u202b name"',
    "an isolate": r'"a \u2066 name"',
    "a mark of direction": r'"a name\u200f"',
    "an Arabic mark": r'"a name\u061c"',
    "no width": r'"a\u200bname"',
    "a byte order mark": r'"\ufeffa name"',
    "nothing": '""',
    "spaces": '"      "',
    "too long": f'"{"x" * 201}"',
    "10,000 characters": f'"{"x" * 10_000}"',
    "too many accents": '"' + "e\u0301" * 150 + '"',
    "a number": "1",
    "true": "true",
    "null": "null",
    "an array": '["a name"]',
    "an object": '{"a": "name"}',
}
PLACES = LINES | {"too short": '"ab"', "too short without its spaces": '"  a  "'}
"""For every name that is one line: each is 422."""

MOMENTS = {
    "no offset": '"2099-01-01T00:00:00"',
    "a day": '"2099-01-01"',
    "a time": '"00:00:00Z"',
    "the year 0": '"0000-01-01T00:00:00Z"',
    "the year 1, before it": '"0001-01-01T00:00:00+23:59"',
    "the year 1999": '"1999-12-31T23:59:59Z"',
    "the year 2101": '"2101-01-01T00:00:00Z"',
    "the year 2100 here, 2101 in UTC": '"2100-12-31T23:59:59-23:59"',
    "the year 2000 here, 1999 in UTC": '"2000-01-01T00:00:00+00:01"',
    "the year 9999": '"9999-12-31T23:59:59Z"',
    "the year 9999, after it": '"9999-12-31T23:59:59-23:59"',
    "the year 10000": '"10000-01-01T00:00:00Z"',
    "a year before Christ": '"-0044-03-15T12:00:00Z"',
    "30 February": '"2099-02-30T00:00:00Z"',
    "29 February of no leap year": '"2099-02-29T00:00:00Z"',
    "the 13th month": '"2099-13-01T00:00:00Z"',
    "the month 0": '"2099-00-01T00:00:00Z"',
    "the 25th hour": '"2099-01-01T25:00:00Z"',
    "the 61st minute": '"2099-01-01T00:61:00Z"',
    "the 62nd second": '"2099-01-01T00:00:61Z"',
    "an offset of a day": '"2099-01-01T00:00:00+24:00"',
    "an offset of 60 minutes": '"2099-01-01T00:00:00+00:60"',
    "a zone's name": '"2099-01-01T00:00:00[Europe/Berlin]"',
    "a week": '"2099-W01-1T00:00:00Z"',
    "other digits": '"٢٠٩٩-01-01T00:00:00Z"',
    "a NUL": r'"2099-01-01T00:00:00Z\u0000"',
    "a word": '"tomorrow"',
    "nothing": '""',
    "a number": "4070908800",
    "a number as a text": '"4070908800"',
    "true": "true",
    "an array": '["2099-01-01T00:00:00Z"]',
}
"""For every moment: each is 422."""

IDS = {
    "braces": f'"{{{NOBODYS_ID}}}"',
    "a URN": f'"urn:uuid:{NOBODYS_ID}"',
    "too short": f'"{NOBODYS_ID[:-1]}"',
    "too long": f'"{NOBODYS_ID}0"',
    "no digit": f'"g{NOBODYS_ID[1:]}"',
    "other digits": f'"\u0660{NOBODYS_ID[1:]}"',
    "a space": f'" {NOBODYS_ID}"',
    "a NUL": f'"{NOBODYS_ID}\\u0000"',
    "a quote": '"\' OR 1=1 --"',
    "a pattern": '"*"',
    "nothing": '""',
    "a number": "1",
    "null": "null",
    "an array": f'["{NOBODYS_ID}"]',
}
"""For every id in a body: each is 422."""

EMAILS = {
    "nothing": '""',
    "no at": '"nobody"',
    "two of them": '"a@b@example.org"',
    "nobody": '"@example.org"',
    "nowhere": '"a@"',
    "a top-level domain": '"a@example"',
    "an empty label": '"a@example..org"',
    "a point at the end": '"a@example.org."',
    "a space": '"a b@example.org"',
    "a line break": r'"a@example.org\nBcc: b@example.org"',
    "a NUL": r'"a\u0000@example.org"',
    "no width": r'"a\u200b@example.org"',
    "right to left": r'"a\u202e@example.org"',
    "65 characters before the at": f'"{"x" * 65}@example.org"',
    "300 characters": f'"a@{"x" * 300}.org"',
    "10,000 characters": f'"{"x" * 10_000}@example.org"',
    "a number": "1",
    "null": "null",
    "an array": '["a@example.org"]',
}
"""For an address that is to be kept: each is 422."""

PASSWORDS = {
    "nothing": '""',
    "seven characters": '"7 chars"',
    "129 characters": f'"{"x" * 129}"',
    "10,000 characters": f'"{"x" * 10_000}"',
    "one that is guessed first": '"password123"',
    "the same in capitals": '"PASSWORD123"',
    "a number": "123456789012",
    "null": "null",
    "an array": '["a fine long password"]',
    "an object": '{"$ne": ""}',
}
"""For a password that is to be kept: each is 422."""

ROLES = {
    "admin": '"admin"',
    "in capitals": '"ATTENDEE"',
    "a space": '"attendee "',
    "two": '"attendee,admin"',
    "nothing": '""',
    "a number": "0",
    "null": "null",
    "an array": '["attendee"]',
}
"""For a role that a caller asks for: each is 422."""

SERVERS_FIELDS = {
    "POST /api/v1/auth/signup": ["id", "status", "token_epoch", "created_at", "password_hash", "email_key"],
    "PATCH /api/v1/me": ["id", "role", "status", "token_epoch", "password_hash"],
    "POST /api/v1/events": ["id", "organizer_id", "version", "terms_token", "created_at", "cancelled_at", "booked"],
    "PATCH /api/v1/events/{event_id}": ["id", "organizer_id", "version", "cancelled_at", "remaining", "status"],
    "POST /api/v1/bookings": ["id", "user_id", "status", "version", "created_at", "confirmed_at", "claims", "price"],
}
"""Fields that only the server sets: asked for, each is 422 at its name."""

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
    "GET /api/v1/dashboard": UNKNOWN | LIMITS,
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
