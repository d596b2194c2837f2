"""What is left of the ticket types of an event: shared readings, and streams of their changes.

Everybody looks at the same events, so a process reads an event once for all who ask at the same time, and once for all
streams of it. A reading is encoded once for all callers that may see the same types.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
from msgspec import Struct

from api.reads.server_sent_events import (
    HEARTBEAT,
    HEARTBEAT_S,
    RETRY,
    STREAM_S_MAX,
    is_stopped,
    message,
    unless_stopped,
)
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import Refusal, Unavailable
from domain.platform.coalescing import Coalesced
from domain.sales.availability import TypeStatus, find_code, is_visible
from domain.sales.money import DECIMALS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from litestar.types import Scope

    from domain.actions.availability import Availability, Offer
    from domain.sales.availability import TypeAvailability
    from domain.sales.ticket_types import PromoCode

READ_EVERY_S = 0.5
"""How often an event with streams is read. With the time of a reading, a stream is far less than a second behind."""

READERS_PER_TURN = 50
"""Streams that are woken in one turn of the event loop, so that bookings do not wait for a thousand writes."""

STREAMS_MAX = 10_000
"""Concurrent streams of a process."""

RETRY_AFTER_SECONDS = 1

ETAG_BYTES = 12

_encoder = msgspec.json.Encoder()


class TypeAvailable(Struct, frozen=True, kw_only=True):
    """A ticket type of an event, and what is left of it.

    `sold_out`: fewer are left than `min_per_booking`. `over` and `not_yet` are outside of its sales. `remaining` is
    what its scarcest pool still allows, holds taken off; null for a type without a limit. Prices are minor units of
    `currency`.
    """

    ticket_type_id: UUID
    name: str
    description: str
    status: TypeStatus
    remaining: int | None
    price_minor: int
    currency: str | None
    min_per_booking: int
    max_per_booking: int
    max_per_user: int | None
    requires_type_id: UUID | None
    sales_open_at: datetime | None
    sales_close_at: datetime | None
    hidden: bool

    @classmethod
    def of(cls, offered: TypeAvailability, currency: str | None) -> TypeAvailable:
        """A ticket type without the fields that only its organizer needs."""
        sold = offered.ticket_type
        return cls(
            ticket_type_id=sold.id,
            name=sold.name,
            description=sold.description,
            status=offered.status,
            remaining=offered.remaining,
            price_minor=sold.price_minor,
            currency=currency,
            min_per_booking=sold.min_per_booking,
            max_per_booking=sold.max_per_booking,
            max_per_user=sold.max_per_user,
            requires_type_id=sold.requires_type_id,
            sales_open_at=sold.sales_open_at,
            sales_close_at=sold.sales_close_at,
            hidden=sold.hidden,
        )


class EventAvailability(Struct, frozen=True, kw_only=True):
    """The ticket types of an event that the caller may see, in the organizer's order.

    `status` is that of the event. A price of the event is shown with `currency_decimals` decimals.
    """

    event_id: UUID
    status: EventStatus
    currency: str | None
    currency_decimals: int | None
    items: list[TypeAvailable]


class OfferView(Struct, frozen=True):
    """Which ticket types a caller may see: all, or those that everybody sees and those that a promo code shows."""

    everything: bool = False
    promo_code: str | None = None

    def shows(self, offered: TypeAvailability, code: PromoCode | None) -> bool:
        """Whether it has this type; `code` is the promo code, if it can be used now."""
        return self.everything or is_visible(offered.ticket_type, code)


EVERYTHING = OfferView(everything=True)


class Encoded(Struct, frozen=True):
    """An `EventAvailability` as JSON, with its entity tag."""

    etag: str
    content: bytes

    @property
    def event_id(self) -> str:
        """Its id in a stream."""
        return self.etag.strip('"')


class OfferReading:
    """An event's ticket types at one moment, encoded at most once for each view."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self._encoded: dict[OfferView, Encoded] = {}

    def seen_by(self, view: OfferView) -> Encoded:
        """What a caller with this view sees."""
        found = self._encoded.get(view)
        if found is None:
            found = self._encoded[view] = self._encode(view)
        return found

    def code_of(self, view: OfferView) -> PromoCode | None:
        """The promo code of a view, if it can be used at this moment."""
        return find_code(self.offer.terms, view.promo_code, now_ms=self.offer.now_ms) if view.promo_code else None

    def _encode(self, view: OfferView) -> Encoded:
        terms, code = self.offer.terms, self.code_of(view)
        shown = [each for each in self.offer.types if view.shows(each, code)]
        content = _encoder.encode(
            EventAvailability(
                event_id=terms.event_id,
                status=terms.status(now_ms=self.offer.now_ms, remaining=self.offer.room_left),
                currency=terms.currency,
                currency_decimals=DECIMALS.get(terms.currency) if terms.currency else None,
                items=[TypeAvailable.of(each, terms.currency) for each in shown],
            )
        )
        return Encoded(f'"{blake2b(content, digest_size=ETAG_BYTES).hexdigest()}"', content)


class Offers:
    """What is left of events: readings that start after the request, and streams. One per process."""

    def __init__(self, availability: Availability) -> None:
        self._availability = availability
        self._readings = Coalesced(self._read, too_many=_too_many)
        self._watches: dict[UUID, WatchedEvent] = {}
        self._streams = 0

    async def of(self, event_id: UUID) -> OfferReading:
        """What is left of an event now; raises EventNotFound, Unavailable."""
        return await self._readings.of(event_id)

    async def changes(
        self, scope: Scope, event_id: UUID, view: OfferView, *, known: str | None
    ) -> AsyncIterator[bytes]:
        """What a caller sees of an event, unless it is the `known` event id; then each change, for five minutes."""
        yield RETRY
        with self._watching(event_id) as watch:
            loop = asyncio.get_running_loop()
            ends_s = loop.time() + STREAM_S_MAX
            while (left_s := ends_s - loop.time()) > 0 and not watch.over:
                news, shown = watch.news(), watch.reading and watch.reading.seen_by(view)
                if shown and shown.event_id != known:
                    known = shown.event_id
                    yield message("availability", known, shown.content)
                changed = await unless_stopped(scope, news, seconds=min(HEARTBEAT_S, left_s))
                if not changed and is_stopped(scope):
                    return
                if not changed:
                    yield HEARTBEAT

    @property
    def streams(self) -> int:
        """The number of streams."""
        return self._streams

    def check_room(self) -> None:
        """Raise Unavailable if the process has too many streams."""
        if self._streams >= STREAMS_MAX:
            raise _too_many()

    async def end(self) -> None:
        """End all streams."""
        for watch in list(self._watches.values()):
            watch.stop()
        await self._readings.end()

    @contextmanager
    def _watching(self, event_id: UUID) -> Iterator[WatchedEvent]:
        watch = self._watches.get(event_id)
        if watch is None or watch.over:
            watch = self._watches[event_id] = WatchedEvent(partial(self._readings.of, event_id))
        watch.readers += 1
        self._streams += 1
        try:
            yield watch
        finally:
            self._streams -= 1
            watch.readers -= 1
            if not watch.readers:
                watch.stop()
                if self._watches.get(event_id) is watch:
                    del self._watches[event_id]

    async def _read(self, event_id: UUID) -> OfferReading:
        return OfferReading(await self._availability.of(event_id))


class WatchedEvent:
    """An event with streams. It is read all the time while it has readers."""

    def __init__(self, read: Callable[[], Awaitable[OfferReading]]) -> None:
        self.reading: OfferReading | None = None
        self.readers = 0
        self.over = False
        self._read = read
        self._waiting: set[asyncio.Future[bool]] = set()
        self._following = asyncio.create_task(self._follow())

    def news(self) -> asyncio.Future[bool]:
        """A future that is done at the next change, and when this watch is over."""
        news: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.add(news)
        news.add_done_callback(self._waiting.discard)
        return news

    def stop(self) -> None:
        """Read no more, and end the streams."""
        self._following.cancel()

    async def _follow(self) -> None:
        """Read until stopped. While a server cannot be reached, streams wait for the next reading."""
        try:
            while True:
                try:
                    await self._note(await self._read())
                except Unavailable:
                    pass
                except Refusal:
                    return
                await asyncio.sleep(self._pause_s)
        finally:
            self.over = True
            _wake(list(self._waiting))

    @property
    def _pause_s(self) -> float:
        """The time to the next reading: what is left of a closed event is in PostgreSQL, and changes no more."""
        return HEARTBEAT_S if self.reading and self.reading.offer.terms.closed else READ_EVERY_S

    async def _note(self, reading: OfferReading) -> None:
        """Keep a reading, and wake the readers if anything has changed."""
        before, self.reading = self.reading, reading
        if before and before.seen_by(EVERYTHING).etag == reading.seen_by(EVERYTHING).etag:
            return
        waiting = list(self._waiting)
        for start in range(0, len(waiting), READERS_PER_TURN):
            _wake(waiting[start : start + READERS_PER_TURN])
            await asyncio.sleep(0)


def _wake(waiting: Iterable[asyncio.Future[bool]]) -> None:
    for news in waiting:
        if not news.done():
            news.set_result(True)


def _too_many() -> Unavailable:
    detail = "Too many requests are waiting. Try again."
    return Unavailable(detail, retry_after_seconds=RETRY_AFTER_SECONDS)
