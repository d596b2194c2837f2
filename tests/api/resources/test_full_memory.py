"""While Redis' memory is full, new bookings get 503 and all other requests are served."""

from __future__ import annotations

import pytest

from tests.api.callers import Callers
from tests.waiting import persist_all

FULL_BYTES = 1
"""Less than Valkey uses."""


@pytest.fixture
async def fill(clean):
    """Lets Redis' memory be full until the test is over."""
    redis = clean.pipeline.redis

    async def fill():
        await redis.config_set("maxmemory", FULL_BYTES)

    yield fill
    await redis.config_set("maxmemory", 0)


async def test_with_a_full_memory_bookings_are_put_off_and_cancellations_work(limited_client, clean, fill):
    callers = Callers(limited_client, clean)
    organizer, buyer = await callers.organizer(), await callers.attendee()
    event = await organizer.make_event()
    booking = (await buyer.book(event["id"])).json()
    await fill()

    refused = await buyer.book(event["id"])
    await persist_all(clean)
    looked = await buyer.get(f"/api/v1/bookings/{booking['id']}/status")
    cancelled = await buyer.delete(f"/api/v1/bookings/{booking['id']}")

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert "Retry-After" in refused.headers
    assert (looked.status_code, looked.json()["status"]) == (200, "confirmed")
    assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelled")
