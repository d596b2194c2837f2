"""Events whose start the rules of time zones have moved since it was computed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from domain.sales.zones import zone_data_version

if TYPE_CHECKING:
    from domain.engine import Stores
    from domain.sales.events import Event

PAGE_EVENTS = 500
"""Events that are read at once."""


async def moved_events(stores: Stores, *, now: datetime) -> tuple[list[Event], int]:
    """The events to come whose local start is at another instant by the installed rules, and how many were compared."""
    moved: list[Event] = []
    compared, after = 0, None
    while True:
        page = await stores.events.page(limit=PAGE_EVENTS, after=after, starting_after=now, counted=False)
        moved += [event for event in page.events if event.start.moved]
        compared += len(page.events)
        if len(page.events) < PAGE_EVENTS:
            return moved, compared
        after = page.events[-1].starts_at, page.events[-1].id


def described(moved: list[Event], compared: int, place: str) -> str:
    """The events as lines, each with its instant and the one that its local time has now."""
    lines = [_line(event) for event in moved]
    found = "1 event" if compared == 1 else f"{compared} events"
    return "\n".join([*lines, f"{found} to come, {len(moved)} moved by tzdata {zone_data_version()} in {place}"])


def _line(event: Event) -> str:
    local, right = event.start.starts_at_local, event.start.right_instants
    now_at = " or ".join(_written(instant) for instant in right) or "no instant"
    return (
        f"{event.id}  {event.title}: {local:%Y-%m-%d %H:%M} in {event.time_zone} "
        f"is stored as {_written(event.starts_at)} and is now {now_at}"
    )


def _written(instant: datetime) -> str:
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
