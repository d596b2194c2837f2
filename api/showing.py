"""Events as they are at this moment, each reading shared by everybody who asks for it at the same time."""

from __future__ import annotations

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


class Showing:
    """What everybody looks at: one event, or a page of them."""

    def __init__(self, box_office: BoxOffice, catalog: Catalog) -> None:
        self._box_office = box_office
        self._catalog = catalog
        self._events = Shared[UUID, Shown](self._read_event)
        self._pages = Shared[ListAsked, bytes](self._read_page)

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
        found = await self._catalog.page(
            limit=asked.limit + 1,
            skip=asked.skip,
            after=asked.after,
            starting_after=utc_now() if asked.upcoming_only else None,
            search=asked.search,
        )
        events, more = cut(found.events, asked.limit)
        page = CountedPage(
            items=[EventShown.of(*each) for each in await self._box_office.on_show(events)],
            next_cursor=write_cursor((events[-1].starts_at, events[-1].id)) if more else None,
            total=found.total,
        )
        return _encoder.encode(page)
