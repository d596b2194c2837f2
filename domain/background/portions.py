"""Portions of events with a bounded number of tickets taken, for passes over all events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID


def portions(event_ids: Sequence[UUID], taken: Mapping[UUID, int], *, places_max: int) -> Iterator[list[UUID]]:
    """The events in their order, in portions with at most `places_max` tickets taken, or of one event.

    Events differ in size: a hundred events may have sold nothing, or a million tickets. Portions take similar amounts
    of time and memory.
    """
    portion: list[UUID] = []
    places = 0
    for event_id in event_ids:
        more = taken.get(event_id, 0)
        if portion and places + more > places_max:
            yield portion
            portion, places = [], 0
        portion.append(event_id)
        places += more
    if portion:
        yield portion
