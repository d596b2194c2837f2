"""Events in portions: as many at once as have a bounded number of places taken, for passes over all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID


def portions(event_ids: Sequence[UUID], taken: Mapping[UUID, int], *, places_max: int) -> Iterator[list[UUID]]:
    """The events in their order, each time as many as have `places_max` places taken between them, or one.

    Events are unequal: a hundred may have sold nothing, or a million places. What is done about one portion
    then takes about as long, and as much memory, as about another.
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
