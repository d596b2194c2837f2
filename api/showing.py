"""Events as they are at this moment, read once for everybody who asks at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from domain.events import Event, EventStatus
from domain.refusals import Refusal

if TYPE_CHECKING:
    from uuid import UUID

    from domain.box_office import BoxOffice

Shown = tuple[Event, int, EventStatus]
"""An event, the places that remain, and where its sale stands."""


class Showing:
    """Answers every caller with a reading that began after the call, so nobody sees a state older than its question.

    While one reading of an event is under way, whoever asks joins the next: thousands who look at one
    event cost two readings at a time.
    """

    def __init__(self, box_office: BoxOffice) -> None:
        self._box_office = box_office
        self._current: dict[UUID, asyncio.Task[Shown | Refusal]] = {}
        self._next: dict[UUID, asyncio.Task[Shown | Refusal]] = {}

    async def of(self, event_id: UUID) -> Shown:
        """An event, the places that remain and its status; raises EventNotFound, Unavailable."""
        reading = self._next.get(event_id)
        if reading is None:
            reading = asyncio.create_task(self._read(event_id, after=self._current.get(event_id)))
            self._next[event_id] = reading
        # A caller who goes away does not take the reading from the others.
        shown = await asyncio.shield(reading)
        if isinstance(shown, Refusal):
            raise type(shown)(shown.detail, **shown.facts) from shown
        return shown

    async def _read(self, event_id: UUID, *, after: asyncio.Task[Shown | Refusal] | None) -> Shown | Refusal:
        if after is not None:
            await asyncio.wait([after])
        # From here on it is too late to join.
        self._current[event_id] = self._next.pop(event_id)
        reading = self._current[event_id]
        try:
            (shown,) = await self._box_office.on_show([await self._box_office.event(event_id)])
        except Refusal as refusal:
            return refusal
        finally:
            if self._current.get(event_id) is reading:
                del self._current[event_id]
        return shown
