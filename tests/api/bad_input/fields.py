"""Values that a field of a JSON body may not have."""

from __future__ import annotations

from tests.api.bad_input.answers import (
    NOBODYS_ID,
)

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


LOCATIONS = LINES | {"too short": '"ab"', "too short without its spaces": '"  a  "'}
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
