"""Current events. Concurrent requests for the same event or page share one read."""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from api.http.conditional import event_etag
from api.http.pagination import LIMIT_MAX, cut, write_cursor
from api.shapes import EventShown, EventShownPage
from domain.accounts.tokens import utc_now
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import Unavailable
from domain.platform.coalescing import Coalesced
from domain.sales.events import Event

if TYPE_CHECKING:
    from domain.actions.events import EventActions
    from domain.store.postgres.events.reads import EventReads

SCAN_BATCH_MAX = LIMIT_MAX + 1
"""Events that are read and compared with a status at once: the longest page, and one to know whether more follow."""

SCAN_BATCHES_MAX = 5
"""Batches that one request for events of a status reads, about 10 ms each. After them, its page stays short."""

COUNTED_S = 1.0
"""How long the length of a list is cached. Counting ten thousand events costs a third of a page with twenty of them.

The last page computes the length itself, so a list on one page always has its exact length.
"""

RETRY_AFTER_SECONDS = 1

Shown = tuple[Event, int, EventStatus]
"""An event, its remaining tickets, and the state of its sale."""

_encoder = msgspec.json.Encoder()


class EncodedEvent(Struct, frozen=True):
    """An `EventShown` as JSON, with its entity tag."""

    id: UUID
    etag: str
    content: bytes


class ListAsked(Struct, frozen=True, kw_only=True):
    """A request for a page of events. Equal requests may share a read.

    `skip` is the number of events to skip after the position `after`.
    """

    limit: int
    skip: int
    after: tuple[datetime, UUID] | None
    upcoming_only: bool
    search: str | None
    organizer_id: UUID | None = None
    series_id: UUID | None = None
    status: EventStatus | None = None

    @property
    def remembered(self) -> bool:
        """Whether the length of the list is cached: only for the two lists of all events."""
        return not self.search and self.organizer_id is None and self.series_id is None


class Showing:
    """The reads that everybody makes: one event, or a page of events."""

    def __init__(self, event_actions: EventActions, events: EventReads) -> None:
        self._event_actions = event_actions
        self._lists = events
        self._events = Coalesced(self._read_event, too_many=_too_many)
        self._pages = Coalesced(self._read_page, too_many=_too_many)
        self._lengths: dict[bool, _Length] = {}

    async def of(self, event_id: UUID) -> EncodedEvent:
        """An event, encoded once for all callers that share the read; raises EventNotFound, Unavailable."""
        return await self._events.of(event_id)

    async def page(self, asked: ListAsked) -> bytes:
        """An `EventShownPage` as JSON, encoded once for all callers of the read; raises Invalid, Unavailable."""
        return await self._pages.of(asked)

    async def _read_event(self, event_id: UUID) -> EncodedEvent:
        ((event, remaining, status),) = await self._event_actions.on_show([await self._event_actions.find(event_id)])
        etag = event_etag(event.version, remaining, status)
        return EncodedEvent(event.id, etag, _encoder.encode(EventShown.of(event, remaining, status)))

    async def _read_page(self, asked: ListAsked) -> bytes:
        return _encoder.encode(await (self._scanned_page(asked) if asked.status else self._counted_page(asked)))

    async def _counted_page(self, asked: ListAsked) -> EventShownPage:
        began_s, known = time.monotonic(), self._known_length(asked)
        found = await self._lists.page(
            limit=asked.limit + 1,
            skip=asked.skip,
            after=asked.after,
            not_over_at=utc_now() if asked.upcoming_only else None,
            search=asked.search,
            organizer_id=asked.organizer_id,
            series_id=asked.series_id,
            cancelled_too=asked.organizer_id is not None,
            counted=known is None,
        )
        length = known or _Length(found.total or 0, began_s)
        if asked.remembered:
            self._lengths[asked.upcoming_only] = length
        events, more = cut(found.events, asked.limit)
        # The last page knows the length of the list from the number of skipped events.
        ends_here = asked.after is None and not more and (events or not asked.skip)
        return EventShownPage(
            items=[EventShown.of(*each) for each in await self._event_actions.on_show(events)],
            next_cursor=write_cursor((events[-1].starts_at, events[-1].id)) if more else None,
            total=asked.skip + len(events) if ends_here else length.total,
        )

    async def _scanned_page(self, asked: ListAsked) -> EventShownPage:
        """Events of a status. No index has it, so at most SCAN_BATCHES_MAX batches are read until the page is full."""
        end = asked.skip + asked.limit
        found: list[Shown] = []
        after, more, size = asked.after, True, min(end + 1, SCAN_BATCH_MAX)
        for _ in range(SCAN_BATCHES_MAX):
            batch, more = cut(await self._batch(asked, after=after, limit=size + 1), size)
            found += [shown for shown in await self._event_actions.on_show(batch) if shown[2] is asked.status]
            if len(found) > end or not more:
                break
            after, size = (batch[-1].starts_at, batch[-1].id), SCAN_BATCH_MAX
        items, follows = cut(found, end)
        items = items[asked.skip :]
        position: tuple[datetime, UUID, int] | None = None
        if follows:
            position = (items[-1][0].starts_at, items[-1][0].id, 0)
        elif more and after:
            position = (*after, max(0, asked.skip - len(found)))
        return EventShownPage(
            items=[EventShown.of(*each) for each in items], next_cursor=write_cursor(position) if position else None
        )

    async def _batch(self, asked: ListAsked, *, after: tuple[datetime, UUID] | None, limit: int) -> list[Event]:
        found = await self._lists.page(
            limit=limit,
            after=after,
            not_over_at=utc_now() if asked.upcoming_only else None,
            search=asked.search,
            organizer_id=asked.organizer_id,
            series_id=asked.series_id,
            may_be=asked.status,
            counted=False,
        )
        return found.events

    def _known_length(self, asked: ListAsked) -> _Length | None:
        """The cached length of the list, if it was counted within the last second."""
        length = self._lengths.get(asked.upcoming_only) if asked.remembered else None
        return length if length and time.monotonic() - length.counted_s < COUNTED_S else None


def _too_many() -> Unavailable:
    return Unavailable("Too many different requests are waiting. Try again.", retry_after_seconds=RETRY_AFTER_SECONDS)


class _Length(Struct, frozen=True):
    """The length of a list, and when it was counted."""

    total: int
    counted_s: float
