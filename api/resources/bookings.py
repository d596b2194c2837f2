"""Taking places, following a booking, giving places back: `/bookings`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import Meta

from api.access.declarations import ATTENDEES, EVERYBODY, ORGANIZERS, access
from api.access.guards import check_owns_event
from api.context import Process, process
from api.fast_path import Answer, Call, Lane, answered_at_the_door
from api.http.bodies import JSON_MEDIA_TYPE, Body, decode
from api.http.conditional import booking_etag, booking_fields, booking_headers, matches, preferred, say_varies, wait_s
from api.http.pagination import LIMIT_DEFAULT, Cursor, EmailSearch, Limit, cut, read_cursor, searched, write_cursor
from api.reads.booking_stream import FOLLOWED, LAST_EVENT_ID, STREAM_MEDIA_TYPE, changes, is_known, waited_for
from api.resources.guests import CSV_MEDIA_TYPE, ByteOrderMark, Guests, GuestStatus, csv_lines, guest_page
from api.shapes import BookingShown, Page
from domain.accounts.accounts import Role
from domain.accounts.tokens import Token, utc_now
from domain.kernel.bookings import HOLDING, Booking, BookingStatus
from domain.kernel.refusals import (
    BookingNotFound,
    EventNotFound,
    EventStarted,
    Forbidden,
    IdempotencyKeyReused,
    NotOnSale,
    PersistenceLagging,
    PerUserLimit,
    SoldOut,
)
from domain.sales.events import Deadline
from domain.store.postgres.reports.guests import Guest, GuestsAsked

if TYPE_CHECKING:
    from domain.store.redis.scripts import Answered, Command

CANCELLED_BY_ADMIN = "cancelled_by_admin"
CANCELLED_BY_ORGANIZER = "cancelled_by_organizer"
"""The `reason` of a booking that somebody else than its owner cancelled."""


class BookingOrder(Body):
    """Places to take."""

    event_id: UUID
    quantity: Annotated[int, Meta(ge=1, le=100)] = 1


_ORDER = msgspec.json.Decoder(BookingOrder)


def ordered(body: bytes) -> BookingOrder:
    """What a body asks for; raises MalformedBody, Invalid."""
    return decode(body, _ORDER)


def what_a_key_stands_for(order: BookingOrder) -> str:
    """What makes two requests the same, however they are spelled."""
    return f"{order.event_id.hex}:{order.quantity}"


def plan_places(call: Call) -> Command | None:
    """The command that takes the places that are asked for."""
    order: BookingOrder = call.order
    plan = call.plan = call.process.stores.box_office.plan(
        event_id=order.event_id, user_id=call.caller.account_id, quantity=order.quantity, idempotency_key=call.key
    )
    return plan.command


async def take_places(call: Call) -> Answer:
    """`POST /bookings`: what everybody calls in the minute of an on-sale."""
    box_office = call.process.stores.box_office
    reservation = await box_office.take(call.plan, call.answered)
    booking, seconds = reservation.booking, wait_s(call.scope)
    already_final = reservation.replayed and booking.final
    if seconds:
        waiting = box_office.wait_until_final(booking, seconds=seconds)
        booking = await waited_for(call.scope, waiting, known=booking)
    fields = booking_fields(booking, waited_s=seconds)
    fields.append((b"location", b"/api/v1/bookings/%b/status" % str(booking.id).encode()))
    if reservation.replayed:
        fields.append((b"idempotent-replayed", b"true"))
    confirmed = seconds > 0 and booking.status is BookingStatus.CONFIRMED
    status = 200 if already_final else 201 if confirmed else 202
    return Answer.of(status, BookingShown.of(booking), fields)


def plan_look(call: Call) -> Command | None:
    """The command that looks at the booking of the path."""
    return call.process.stores.box_office.looking(call.id_in_path("booking_id"))


async def tell_status(call: Call) -> Answer | None:
    """`GET /bookings/{id}/status`: what everybody calls in the minute after it. Streams are for the handler."""
    booking = await visible_booking(call.process, call.caller, call.id_in_path("booking_id"), call.answered)
    say_varies(call.scope, b"Accept")
    if preferred(call.scope, JSON_MEDIA_TYPE, STREAM_MEDIA_TYPE) == STREAM_MEDIA_TYPE:
        if booking.final and is_known(call.scope, booking):
            return Answer(204, booking_fields(booking))
        call.scope[FOLLOWED] = booking  # type: ignore[literal-required]
        return None
    seconds = wait_s(call.scope)
    if seconds and not booking.final:
        waiting = call.process.stores.box_office.wait_for_change(booking, seconds=seconds)
        booking = await waited_for(call.scope, waiting, known=booking)
    fields = booking_fields(booking, waited_s=seconds)
    if matches(call.scope, booking_etag(booking)):
        return Answer(304, fields)
    return Answer.of(200, BookingShown.of(booking), fields)


class BookingController(Controller):
    """Bookings."""

    path = "/bookings"
    tags = ("Bookings",)

    @post(
        "/",
        status_code=202,
        **access(
            ATTENDEES,
            limit="booking_create",
            lane=Lane(answer=take_places, ahead=plan_places, takes=ordered, keyed=what_a_key_stands_for),
            reads=("Idempotency-Key", "Prefer"),
            sends={
                200: ("ETag", "Location", "Idempotent-Replayed", "Preference-Applied"),
                201: ("ETag", "Location", "Idempotent-Replayed", "Preference-Applied"),
                202: ("ETag", "Location", "Idempotent-Replayed", "Preference-Applied", "Retry-After"),
            },
            refuses=(SoldOut, PerUserLimit, NotOnSale, EventNotFound, IdempotencyKeyReused, PersistenceLagging),
        ),
    )
    async def create(self, data: JSONBody[BookingOrder]) -> Response[BookingShown]:  # noqa: ARG002  (documented)
        """Take places. They are taken when this answers; the booking is confirmed once it is in PostgreSQL.

        Send an `Idempotency-Key`, so that a retry after a broken connection cannot book twice. With
        `Prefer: wait=N` the answer is 201 and `confirmed` if that happens within N seconds. A repeated request is
        answered 200 when its booking is final by then: confirmed, cancelled or rejected.
        """
        return cast("Response[BookingShown]", answered_at_the_door())

    @get("/my-bookings", **access(ATTENDEES))
    async def mine(
        self, request: Request[Token, Any, Any], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[BookingShown]:
        """The caller's bookings, newest first, pending ones included."""
        found = await process(request).stores.box_office.bookings_of(
            request.user.account_id, limit=limit + 1, before=read_cursor(cursor, tuple[datetime, UUID])
        )
        bookings, more = cut(found, limit)
        return Page(
            items=[BookingShown.of(booking) for booking in bookings],
            next_cursor=write_cursor((bookings[-1].created_at, bookings[-1].id)) if more else None,
        )

    @get(
        "/{booking_id:uuid}/status",
        **access(
            EVERYBODY,
            lane=Lane(answer=tell_status, ahead=plan_look),
            refuses=(BookingNotFound,),
            reads=("Prefer", "If-None-Match", LAST_EVENT_ID),
            sends={
                200: ("ETag", "Preference-Applied", "Retry-After", "Vary", "X-Accel-Buffering"),
                204: ("ETag", "Vary"),
                304: ("ETag", "Preference-Applied", "Retry-After", "Vary"),
            },
        ),
    )
    async def status(
        self,
        request: Request[Token, Any, Any],
        booking_id: FromPath[UUID],  # noqa: ARG002  (documented)
    ) -> Response[BookingShown] | Stream:
        """The booking as it stands, to its owner, the event's organizer and admins.

        `Prefer: wait=N` waits for a change; `Accept: text/event-stream` streams changes until it is final. A stream
        also ends after five minutes and when a server goes away; an `EventSource` then comes back by itself, with
        `Last-Event-ID`. It is answered 204 when it has seen the final state, and with an empty stream whose `retry`
        says when to come back where anybody else would be answered 429 or 503. Two answers end it for good: a
        refusal of the first request, which you repeat with a new `EventSource` after `Retry-After`; and 401, after
        which you need a new access token.
        """
        booking = cast("Booking", request.scope[FOLLOWED])  # type: ignore[literal-required]
        return Stream(
            changes(request.scope, process(request).stores.box_office, booking),
            media_type=STREAM_MEDIA_TYPE,
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )

    @delete(
        "/{booking_id:uuid}",
        status_code=200,
        **access(EVERYBODY, limit="booking_cancel", refuses=(BookingNotFound, EventStarted), sends={200: ("ETag",)}),
    )
    async def cancel(self, request: Request[Token, Any, Any], booking_id: FromPath[UUID]) -> Response[BookingShown]:
        """Give the places back, exactly once; again, the same answer.

        Its owner can until the event has started and its sales are closed, the event's organizer and admins until
        it is over; `reason` says when it was not the owner.
        """
        booking = await visible_booking(process(request), request.user, booking_id)
        cancelled = await cancel_booking(request, booking)
        return Response(BookingShown.of(cancelled), headers=booking_headers(cancelled))

    @get(
        "/{event_id:uuid}",
        **access(ORGANIZERS, refuses=(EventNotFound,), sends={200: ("Content-Disposition", "Vary")}),
    )
    async def guests(  # noqa: PLR0913, PLR0917  (what a list can be asked for, always by name)
        self,
        request: Request[Token, Any, Any],
        event_id: FromPath[UUID],
        status: GuestStatus = Guests.HOLDING,
        q: EmailSearch = None,
        bom: ByteOrderMark = False,  # noqa: FBT002  (a query parameter)
        limit: Limit = LIMIT_DEFAULT,
        cursor: Cursor = None,
    ) -> Page[Guest] | Stream:
        """The guest list of an event, oldest booking first, to its organizer and admins.

        Whole and as CSV with `Accept: text/csv`: no cell of it runs as a formula in a spreadsheet.
        """
        stores, guest_lists = process(request).stores, process(request).guest_lists
        check_owns_event(request.user, await stores.box_office.event(event_id))
        asked = GuestsAsked(event_id=event_id, limit=limit, cancelled_too=status is Guests.ALL, search=searched(q))
        wanted = preferred(request.scope, JSON_MEDIA_TYPE, CSV_MEDIA_TYPE)
        if wanted == CSV_MEDIA_TYPE:
            download = process(request).downloads.begin(request.scope, request.user.account_id)
        say_varies(request.scope, b"Accept")
        if wanted == CSV_MEDIA_TYPE:
            return Stream(
                download.sent(csv_lines(guest_lists, asked, bom=bom)),
                headers={
                    "Content-Type": f"{CSV_MEDIA_TYPE}; charset=utf-8",
                    "Content-Disposition": f'attachment; filename="guests-{event_id}.csv"',
                },
            )
        return await guest_page(guest_lists, asked, cursor=cursor)


async def cancel_booking(request: Request[Token, Any, Any], booking: Booking) -> Booking:
    """Cancel it for its owner, for the event's organizer, or for an admin, with an entry in the audit log."""
    stores, caller_id = process(request).stores, request.user.account_id
    if caller_id == booking.user_id:
        return await stores.box_office.cancel(booking)
    by_admin = request.user.role is Role.ADMIN
    # The reason is written with the cancellation itself, whatever becomes of the entry.
    cancelled = await stores.box_office.cancel(
        booking, deadline=Deadline.OVER, reason=CANCELLED_BY_ADMIN if by_admin else CANCELLED_BY_ORGANIZER
    )
    if by_admin and booking.status in HOLDING:
        await stores.accounts.note(
            actor_id=caller_id,
            action="booking.cancelled",
            target_id=booking.id,
            now=utc_now(),
            user_id=str(booking.user_id),
        )
    return cancelled


async def visible_booking(at: Process, caller: Token, booking_id: UUID, answered: Answered | None = None) -> Booking:
    """A booking that the caller may see, by what Redis answered if it was asked; raises BookingNotFound for another."""
    booking = await at.stores.box_office.booking(booking_id, answered)
    if booking.user_id != caller.account_id and caller.role is not Role.ADMIN:
        await _check_organizes(at, caller, booking)
    return booking


async def _check_organizes(at: Process, caller: Token, booking: Booking) -> None:
    detail = "There is no booking with this id."
    if caller.role is not Role.ORGANIZER:
        raise BookingNotFound(detail)
    event = await at.stores.box_office.event(booking.event_id)
    try:
        check_owns_event(caller, event)
    except Forbidden:
        raise BookingNotFound(detail) from None
