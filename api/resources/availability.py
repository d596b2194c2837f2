"""What is left of the ticket types of an event: `/events/{id}/availability`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

from litestar import Controller, MediaType, Request, Response, get
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from api.access.declarations import ANYONE, access
from api.access.promo_guesses import guesser_of
from api.context import Process, process
from api.http.conditional import matches, say_varies
from api.http.headers import field
from api.reads.availability import EVERYTHING, EventAvailability, OfferReading, OfferView
from api.reads.server_sent_events import LAST_EVENT_ID, STREAM_HEADERS, STREAM_MEDIA_TYPE, prefers_stream
from api.resources.bookings import PROMO_CODE_CHARS_MAX
from domain.accounts.accounts import Role
from domain.kernel.refusals import EventNotFound, PromoCodeInvalid
from domain.sales.refusals import promo_code_invalid
from domain.sales.ticket_types import code_key

if TYPE_CHECKING:
    from domain.accounts.tokens import Token

PromoCodeQuery = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=PROMO_CODE_CHARS_MAX,
        description="Also show the ticket types that this promo code unlocks. Wrong codes are counted by a limit.",
    ),
]


class AvailabilityController(Controller):
    """What is left of events."""

    path = "/events"
    tags = ("Events",)

    @get(
        "/{event_id:uuid}/availability",
        **access(
            ANYONE,
            refuses=(EventNotFound, PromoCodeInvalid),
            reads=("If-None-Match", LAST_EVENT_ID),
            sends={200: ("ETag", "Retry-After", "Vary", "X-Accel-Buffering"), 304: ("ETag", "Vary")},
        ),
    )
    async def show(
        self, request: Request[Any, Any, Any], event_id: FromPath[UUID], promo_code: PromoCodeQuery = None
    ) -> Response[EventAvailability]:
        """What is left of each ticket type at this moment, and whether it can be bought.

        Hidden ticket types are shown to the organizer and to admins, and with a promo code that unlocks them.
        `Accept: text/event-stream` streams changes. A stream ends after five minutes; an `EventSource` then reconnects
        by itself, with `Last-Event-ID`. Instead of 429 or 503 it is answered with an empty stream whose `retry` says
        when to reconnect.
        """
        at = process(request)
        reading = await _reading(request, event_id, promo_code)
        view = OfferView(everything=await _sees_everything(at, request, event_id), promo_code=_key(promo_code))
        if prefers_stream(request.scope):
            return _streamed(request, event_id, view)
        say_varies(request.scope, b"Accept")
        return _shown(request, reading, EVERYTHING if view.everything else view)


async def _reading(request: Request[Any, Any, Any], event_id: UUID, promo_code: str | None) -> OfferReading:
    """What is left of an event, for a caller whose promo code can be used. Wrong codes are counted."""
    at = process(request)
    if promo_code is None:
        return await at.offers.of(event_id)

    async def with_code() -> OfferReading:
        reading = await at.offers.of(event_id)
        if reading.code_of(OfferView(promo_code=_key(promo_code))) is None:
            raise promo_code_invalid()
        return reading

    return await at.promo_guesses.tried(guesser_of(at, request.scope, request.scope["user"]), with_code)


async def _sees_everything(at: Process, request: Request[Any, Any, Any], event_id: UUID) -> bool:
    """Whether the caller is an admin or the organizer of the event."""
    caller: Token | None = request.scope["user"]
    if caller is None or caller.role is Role.ATTENDEE:
        return False
    if caller.role is Role.ADMIN:
        return True
    return (await at.stores.event_actions.find(event_id)).organizer_id == caller.account_id


def _key(promo_code: str | None) -> str | None:
    return None if promo_code is None else code_key(promo_code)


def _streamed(request: Request[Any, Any, Any], event_id: UUID, view: OfferView) -> Response[Any]:
    offers = process(request).offers
    offers.check_room()
    say_varies(request.scope, b"Accept")
    return Stream(
        offers.changes(request.scope, event_id, view, known=field(request.scope, b"last-event-id")),
        media_type=STREAM_MEDIA_TYPE,
        headers=STREAM_HEADERS,
    )


def _shown(request: Request[Any, Any, Any], reading: OfferReading, view: OfferView) -> Response[EventAvailability]:
    """What is left, or 304 if the caller has it."""
    seen = reading.seen_by(view)
    headers = {"ETag": seen.etag, "Cache-Control": "no-cache"}
    if matches(request.scope, seen.etag):
        return Response(cast("Any", None), status_code=304, headers=headers)
    return Response(cast("Any", seen.content), headers=headers, media_type=MediaType.JSON)
