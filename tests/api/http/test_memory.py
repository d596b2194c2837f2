"""A request leaves nothing behind in the memory of its process."""

from __future__ import annotations

import gc
from asyncio import Handle
from contextvars import Context
from itertools import pairwise

REQUESTS = 40

ROUNDS = 3
"""A leak grows in every round; a cache or a connection that is opened for the first time grows in one."""

LEFT_MAX = REQUESTS // 4
"""Objects that a round may leave: far fewer than one for each request."""

TIMERS = (Handle, Context)
"""A timer that was cancelled stays with the event loop until its time has come."""

PATHS = [
    "/api/v1/events",
    "/api/v1/events?limit=2",
    "/api/v1/events?no_such_parameter=1",
    "/api/v1/events/{event}",
    "/api/v1/bookings/{booking}",
    "/api/v1/bookings/{booking}/status",
    "/api/v1/bookings/my-bookings",
    "/api/v1/me",
    "/api/v1/dashboard",
    "/api/v1/nowhere",
    "/health/live",
    "/health/ready",
    "/metrics",
    "/",
]


async def test_requests_leave_no_objects_behind(callers):
    attendee, event = await callers.attendee(), await (await callers.organizer()).make_event(capacity=1)
    booking = (await attendee.book(event["id"])).json()
    paths = [path.format(event=event["id"], booking=booking["id"]) for path in PATHS]

    left = {path: await _left_by(lambda path=path: attendee.get(path)) for path in paths}
    left["a refused booking"] = await _left_by(lambda: attendee.book(event["id"]))

    assert {what: objects for what, objects in left.items() if objects > LEFT_MAX} == {}


async def _left_by(ask):
    """The objects that a round of these requests leaves, of several rounds the fewest."""
    counts = []
    for _ in range(ROUNDS + 1):
        for _ in range(REQUESTS):
            await ask()
        gc.collect()
        counts.append(sum(not isinstance(each, TIMERS) for each in gc.get_objects()))
    return min(after - before for before, after in pairwise(counts))
