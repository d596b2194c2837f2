"""Requests leave no objects that only the garbage collector frees."""

from __future__ import annotations

import gc
import subprocess
import sys

from tests.processes import ROOT

REQUESTS = 50

_SPARED = """
import gc
from domain.platform.garbage_collection import YOUNG_MAX, spare_what_stays

spare_what_stays()
print(gc.get_freeze_count() > 1_000, gc.get_threshold()[0] == YOUNG_MAX, gc.isenabled())
"""


async def test_what_everybody_asks_at_once_leaves_no_garbage(client, callers):
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    booked = await buyer.book(event["id"])
    await _poll(client, buyer, booked)
    gc.collect()
    gc.disable()
    try:
        for _ in range(REQUESTS):
            await _poll(client, buyer, booked)
        found = gc.collect()
    finally:
        gc.enable()

    # A few come from what else this process does.
    assert found < REQUESTS


async def _poll(client, buyer, booked):
    """Ask as a server does: a client library would leave garbage of its own."""
    answered = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        answered.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": booked.headers["Location"],
        "raw_path": booked.headers["Location"].encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"onsale.test"), (b"authorization", f"Bearer {buyer.access_token}".encode())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
        "state": {},
    }
    await client._transport.app(scope, receive, send)
    assert answered[0]["status"] == 200


def test_a_process_spares_what_it_starts_with():
    done = subprocess.run([sys.executable, "-c", _SPARED], cwd=ROOT, capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["True"] * 3
