"""Events as they are at this moment, each reading shared by everybody who asks for it at the same time."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from api.cursors import cut, write_cursor
from api.sharing import Shared
from api.wire import CountedPage, EventShown
from domain.events import Event, EventStatus
from domain.tokens import utc_now

if TYPE_CHECKING:
    from domain.box_office import BoxOffice
    from domain.store.catalog import Catalog

COUNTED_S = 1.0
"""How long the length of a list counts as known: to count ten thousand events cost a third of what showing twenty of
them did. The last page knows better, and a list that is all on one page is never told longer or shorter than it is."""

Shown = tuple[Event, int, EventStatus]
"""An event, the places that remain, and where its sale stands."""

_encoder = msgspec.json.Encoder()


class ListAsked(Struct, frozen=True, kw_only=True):
    """Which page of the events is asked for; whoever asks for the same may share a reading of it."""

    limit: int
    skip: int
    after: tuple[datetime, UUID] | None
    upcoming_only: bool
    search: str | None
    organizer_id: UUID | None = None

    @property
    def remembered(self) -> bool:
        """Whether its length is worth remembering: it is one of the two lists that everybody looks at."""
        return not self.search and self.organizer_id is None


class Showing:
    """What everybody looks at: one event, or a page of them."""

    def __init__(self, box_office: BoxOffice, catalog: Catalog) -> None:
        self._box_office = box_office
        self._catalog = catalog
        self._events = Shared[UUID, Shown](self._read_event)
        self._pages = Shared[ListAsked, bytes](self._read_page)
        self._lengths: dict[bool, _Length] = {}

    async def of(self, event_id: UUID) -> Shown:
        """An event, the places that remain and its status; raises EventNotFound, Unavailable."""
        return await self._events.of(event_id)

    async def page(self, asked: ListAsked) -> bytes:
        """A `CountedPage[EventShown]` as JSON, encoded once for all who share it; raises Invalid, Unavailable."""
        return await self._pages.of(asked)

    async def _read_event(self, event_id: UUID) -> Shown:
        (shown,) = await self._box_office.on_show([await self._box_office.event(event_id)])
        return shown

    async def _read_page(self, asked: ListAsked) -> bytes:
        began_s, known = time.monotonic(), self._known_length(asked)
        found = await self._catalog.page(
            limit=asked.limit + 1,
            skip=asked.skip,
            after=asked.after,
            not_over_at=utc_now() if asked.upcoming_only else None,
            search=asked.search,
            organizer_id=asked.organizer_id,
            cancelled_too=asked.organizer_id is not None,
            counted=known is None,
        )
        length = known or _Length(found.total or 0, began_s)
        if asked.remembered:
            self._lengths[asked.upcoming_only] = length
        events, more = cut(found.events, asked.limit)
        # The last page, when the others were skipped, says itself how long the list is.
        ends_here = asked.after is None and not more and (events or not asked.skip)
        page = CountedPage(
            items=[EventShown.of(*each) for each in await self._box_office.on_show(events)],
            next_cursor=write_cursor((events[-1].starts_at, events[-1].id)) if more else None,
            total=asked.skip + len(events) if ends_here else length.total,
        )
        return _encoder.encode(page)

    def _known_length(self, asked: ListAsked) -> _Length | None:
        """How long the list was within the last second, if it was counted; what is searched for differs each time."""
        length = self._lengths.get(asked.upcoming_only) if asked.remembered else None
        return length if length and time.monotonic() - length.counted_s < COUNTED_S else None


class _Length(Struct, frozen=True):
    """How long a list was."""

    total: int
    counted_s: float
