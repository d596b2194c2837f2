"""The duration of a login does not reveal whether the account exists."""

from __future__ import annotations

import statistics
import time

import pytest

LOGINS = 40
"""Of each kind, in turns, so that whatever else the machine does falls on both."""

MEASUREMENTS_MAX = 4

DIFFERENCE_MAX = 0.25
"""Of the medians; without the dummy hash an unknown address is answered in a tenth of the time."""


@pytest.fixture(autouse=True)
def cheap_passwords():
    """Passwords are hashed at the real cost: it is their time that is measured."""


async def _took_s(client, email):
    began_s = time.perf_counter()
    answer = await client.post("/api/v1/auth/login", json={"email": email, "password": "not this one"})
    assert answer.status_code == 401
    return time.perf_counter() - began_s


async def _difference(client, email, capsys):
    """How far the medians of known and unknown addresses, in turns, are apart: a share of the first."""
    known_s, unknown_s = [], []
    for number in range(LOGINS):
        known_s.append(await _took_s(client, email))
        unknown_s.append(await _took_s(client, f"nobody{number}@example.org"))

    known, unknown = statistics.median(known_s), statistics.median(unknown_s)
    with capsys.disabled():
        print(f"\nlogin: known {known * 1000:.1f} ms, unknown {unknown * 1000:.1f} ms")  # noqa: T201
    return abs(known - unknown) / known


async def test_known_and_unknown_addresses_take_the_same_time(callers, client, capsys):
    """S8: a difference is one of the service if every measurement shows it, and one of the machine otherwise."""
    caller = await callers.attendee()

    for _ in range(MEASUREMENTS_MAX):
        if await _difference(client, caller.email, capsys) < DIFFERENCE_MAX:
            return
    pytest.fail("known and unknown addresses are answered after different times")
