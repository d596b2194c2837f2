"""Portions of events with a bounded number of units taken of their counters, for passes over all events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID


def portions(event_ids: Sequence[UUID], taken: Mapping[UUID, int], *, units_max: int) -> Iterator[list[UUID]]:
    """The events in their order, in portions with at most `units_max` units taken, or of one event.

    Events differ in size: a hundred events may have sold nothing, or a million tickets. Portions take similar amounts
    of time and memory.
    """
    portion: list[UUID] = []
    units = 0
    for event_id in event_ids:
        more = taken.get(event_id, 0)
        if portion and units + more > units_max:
            yield portion
            portion, units = [], 0
        portion.append(event_id)
        units += more
    if portion:
        yield portion
