"""The duration of a login does not reveal whether the account exists."""

from __future__ import annotations

import statistics
import time

import pytest

LOGINS = 40
"""Of each kind, in turns, so that whatever else the machine does falls on both."""

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


async def test_known_and_unknown_addresses_take_the_same_time(callers, client, capsys):
    """S8: the medians of known and unknown addresses, in turns."""
    caller = await callers.attendee()
    known_s, unknown_s = [], []
    for number in range(LOGINS):
        known_s.append(await _took_s(client, caller.email))
        unknown_s.append(await _took_s(client, f"nobody{number}@example.org"))

    known, unknown = statistics.median(known_s), statistics.median(unknown_s)
    with capsys.disabled():
        print(f"\nlogin: known {known * 1000:.1f} ms, unknown {unknown * 1000:.1f} ms")  # noqa: T201
    assert abs(known - unknown) < DIFFERENCE_MAX * known
