"""Portions of events with a bounded number of tickets taken, for passes over all events."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID


def portions(event_ids: Sequence[UUID], taken: Mapping[UUID, int], *, tickets_max: int) -> Iterator[list[UUID]]:
    """The events in their order, in portions with at most `tickets_max` tickets taken, or of one event.

    Events differ in size: a hundred events may have sold nothing, or a million tickets. Portions take similar amounts
    of time and memory.
    """
    portion: list[UUID] = []
    tickets = 0
    for event_id in event_ids:
        more = taken.get(event_id, 0)
        if portion and tickets + more > tickets_max:
            yield portion
            portion, tickets = [], 0
        portion.append(event_id)
        tickets += more
    if portion:
        yield portion
