"""Reserve tickets, follow bookings, cancel them: `/bookings`."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from litestar import Controller, Request, Response, delete, get, post
from litestar.params import FromPath, JSONBody
from litestar.response import Stream
from msgspec import UNSET, Meta, UnsetType

from api.access.declarations import EVERYBODY, ORGANIZERS, access
from api.access.guards import check_owns_event
from api.access.promo_guesses import guesser_of
from api.context import Process, process
from api.fast_path import FastRequest, FastResponse, RefusedWith
from api.http.bodies import JSON_MEDIA_TYPE, LINE_PATTERN, Body, Broken
from api.http.conditional import booking_headers, matches, preferred, say_varies, wait_s
from api.http.headers import IDEMPOTENCY_KEY
from api.http.pagination import LIMIT_DEFAULT, Cursor, EmailSearch, Limit, cut, read_cursor, searched, write_cursor
from api.reads.booking_stream import changes, is_known, waited_for
from api.reads.calendar_file import CALENDAR_MEDIA_TYPE, calendar_file
from api.reads.server_sent_events import (
    LAST_EVENT_ID,
    STREAM_HEADERS,
    STREAM_MEDIA_TYPE,
    prefers_stream,
    stream_to_retry,
)
from api.resources.balances import balance_of, balances_of, shown
from api.resources.guests import CSV_MEDIA_TYPE, ByteOrderMark, Guests, GuestStatus, csv_lines, guest_page
from api.shapes import BookingShown, Page
from domain.accounts.accounts import Role
from domain.accounts.tokens import Token, utc_now
from domain.kernel.bookings import HOLDING, Booking, BookingStatus, Reservation
from domain.kernel.idempotency import new_booking
from domain.kernel.refusals import (
    AboveMaximum,
    BelowMinimum,
    BookingNotFound,
    EventNotFound,
    EventStarted,
    Forbidden,
    IdempotencyKeyReused,
    NotOnSale,
    PersistenceLagging,
    PerUserLimit,
    PriceChanged,
    PromoCodeInvalid,
    PromoCodeNotForThis,
    PromoCodeUsedUp,
    RateLimited,
    RequirementMissing,
    SoldOut,
    TicketTypeNotFound,
    TooManyHolds,
    Unavailable,
)
from domain.sales.events import Deadline
from domain.sales.money import TOTAL_MINOR_MAX
from domain.sales.orders import LINES_MAX, TICKETS_MAX, LineOrder, TicketOrder, check_order
from domain.sales.payments import has_balance
from domain.store.postgres.reports.guests import Guest, GuestsAsked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import Scope

    from domain.kernel.bookings import Order

PROMO_CODE_CHARS_MAX = 64

PromoCodeText = Annotated[str, Meta(min_length=1, max_length=PROMO_CODE_CHARS_MAX, pattern=LINE_PATTERN)]

CANCELLED_BY_ADMIN = "cancelled_by_admin"
CANCELLED_BY_ORGANIZER = "cancelled_by_organizer"
"""The `reason` of a booking that was cancelled by somebody else than its owner."""


class OrderItem(Body):
    """Tickets of one type."""

    ticket_type_id: UUID
    quantity: Annotated[int, Meta(ge=1, le=TICKETS_MAX)] = 1


class BookingOrder(Body):
    """The tickets to reserve: `quantity` of them, for an event with one free ticket type, or `items` by ticket type.

    `hold` asks for a hold also of free tickets. With `expect_total_minor`, an order with another total is refused.
    """

    event_id: UUID
    quantity: Annotated[int, Meta(ge=1, le=TICKETS_MAX)] | UnsetType = UNSET
    items: Annotated[list[OrderItem], Meta(min_length=1, max_length=LINES_MAX)] | UnsetType = UNSET
    promo_code: PromoCodeText | None = None
    hold: bool = False
    expect_total_minor: Annotated[int, Meta(ge=0, le=TOTAL_MINOR_MAX)] | None = None

    def broken_rules(self) -> Iterable[Broken]:
        """It says either how many tickets or which; every ticket type once."""
        if self.items is UNSET:
            if self.promo_code is not None or self.hold or self.expect_total_minor is not None:
                yield Broken("/items", "Required with promo_code, hold or expect_total_minor")
            return
        if self.quantity is not UNSET:
            yield Broken("/quantity", "Not allowed with items")
        yield from starmap(Broken, check_order(self._lines))

    @property
    def _lines(self) -> tuple[tuple[UUID, int], ...]:
        return tuple((item.ticket_type_id, item.quantity) for item in self.items or ())

    def order(self, idempotency_key: str | None) -> TicketOrder | LineOrder:
        """The order for the engine."""
        if self.items is UNSET:
            return TicketOrder(self.event_id, self.quantity or 1, idempotency_key)
        return LineOrder(
            self.event_id,
            self._lines,
            idempotency_key=idempotency_key,
            promo_code=self.promo_code,
            hold=self.hold,
            expect_total_minor=self.expect_total_minor,
        )


class BookingController(Controller):
    """Bookings."""

    path = "/bookings"
    tags = ("Bookings",)

    @post(
        "/",
        status_code=202,
        request_class=FastRequest,
        **access(
            EVERYBODY,
            limit="booking_create",
            reads=(IDEMPOTENCY_KEY, "Prefer"),
            sends={
                200: ("ETag", "Location", "Idempotent-Replayed", "Preference-Applied", "Retry-After"),
                201: ("ETag", "Location", "Idempotent-Replayed", "Preference-Applied", "Retry-After"),
                202: ("ETag", "Location", "Idempotent-Replayed", "Preference-Applied", "Retry-After"),
            },
            refuses=(
                *(SoldOut, PerUserLimit, NotOnSale, EventNotFound, IdempotencyKeyReused, PersistenceLagging),
                *(TicketTypeNotFound, BelowMinimum, AboveMaximum, RequirementMissing, PriceChanged, TooManyHolds),
                *(PromoCodeInvalid, PromoCodeUsedUp, PromoCodeNotForThis),
            ),
        ),
    )
    async def create(self, request: FastRequest, data: JSONBody[BookingOrder]) -> Response[BookingShown]:
        """Reserve tickets. They are reserved when this answers; the booking is confirmed once it is in PostgreSQL.

        Organizers can book their own events.

        Send an `Idempotency-Key`, so that a retry after a broken connection cannot book twice. With `Prefer: wait=N`,
        the answer is 201 and `confirmed` if that happens within N seconds. A repeated request is answered 200 if its
        booking is final by then: confirmed, cancelled or rejected.

        Tickets with a price are held until `expires_at`, as are free ones with `hold`: the answer is 201 and `held`. A
        repeated request for a hold is answered 200.
        """
        box_office, order = request.process.stores.box_office, data.order(request.idempotency_key)
        if request.caller.role is Role.ORGANIZER:
            await _check_own_event(request, order)
        reservation = await (
            box_office.reserve(request.ask, order) if data.promo_code is None else _reserve_with_code(request, order)
        )
        booking = reservation.booking
        seconds = wait_s(request.scope) if booking.status is not BookingStatus.HELD else 0
        if seconds:
            waiting = box_office.wait_until_final(booking, seconds=seconds)
            booking = await waited_for(request.scope, waiting, known=booking)
        return _reserved(reservation, booking, waited_s=seconds)

    @get("/my-bookings", **access(EVERYBODY))
    async def mine(
        self, request: Request[Token, Any, Any], limit: Limit = LIMIT_DEFAULT, cursor: Cursor = None
    ) -> Page[BookingShown]:
        """The caller's bookings, newest first, pending ones included."""
        found = await process(request).stores.box_office.bookings_of(
            request.user.account_id, limit=limit + 1, before=read_cursor(cursor, tuple[datetime, UUID])
        )
        bookings, more = cut(found, limit)
        balances = await balances_of(process(request), bookings)
        return Page(
            items=[BookingShown.of(booking, balances.get(booking.id)) for booking in bookings],
            next_cursor=write_cursor((bookings[-1].created_at, bookings[-1].id)) if more else None,
        )

    @get(
        "/{booking_id:uuid}/status",
        request_class=FastRequest,
        **access(
            EVERYBODY,
            refuses=(BookingNotFound,),
            reads=("Prefer", "If-None-Match", LAST_EVENT_ID),
            sends={
                200: ("ETag", "Preference-Applied", "Retry-After", "Vary", "X-Accel-Buffering"),
                204: ("ETag", "Vary"),
                304: ("ETag", "Preference-Applied", "Retry-After", "Vary"),
            },
        ),
    )
    async def status(self, request: FastRequest, booking_id: FromPath[UUID]) -> Response[BookingShown] | Stream:
        """The current state of a booking, for its owner, the event's organizer and admins.

        `Prefer: wait=N` waits for a change. `Accept: text/event-stream` streams changes until the booking is final. A
        stream also ends after five minutes, and when a server cannot be reached. An `EventSource` then reconnects by
        itself, with `Last-Event-ID`. It is answered 204 if it has seen the final state. Instead of 429 or 503 it is
        answered with an empty stream whose `retry` says when to reconnect. Two answers end it for good: a refusal of
        the first request, which you repeat with a new `EventSource` after `Retry-After`; and 401, after which you need
        a new access token.
        """
        try:
            booking = await request.process.stores.box_office.look(request.ask, booking_id)
            await check_visible(request.process, request.caller, booking)
        except (RateLimited, Unavailable) as refusal:
            raise RefusedWith(stream_to_retry(request.scope, refusal)) from refusal
        say_varies(request.scope, b"Accept")
        if prefers_stream(request.scope):
            return _followed(request, booking)
        seconds = wait_s(request.scope)
        if seconds and not booking.final:
            waiting = request.process.stores.box_office.wait_for_change(booking, seconds=seconds)
            booking = await waited_for(request.scope, waiting, known=booking)
        return await _shown(request.process, request.scope, booking, waited_s=seconds)

    @get(
        "/{booking_id:uuid}/calendar",
        **access(EVERYBODY, refuses=(BookingNotFound, EventNotFound), sends={200: ("Content-Disposition",)}),
    )
    async def calendar(self, request: Request[Token, Any, Any], booking_id: FromPath[UUID]) -> Response[bytes]:
        """A calendar file with the event of a booking, for its owner, the event's organizer and admins.

        A file of a cancelled booking takes the entry out of the calendar.
        """
        stores = process(request).stores
        booking = await stores.box_office.booking(booking_id)
        await check_visible(process(request), request.user, booking)
        content = calendar_file(booking, await stores.event_actions.find(booking.event_id), now=utc_now())
        headers = {"Content-Disposition": f'attachment; filename="booking-{booking_id}.ics"'}
        return Response(content, headers=headers, media_type=CALENDAR_MEDIA_TYPE)

    @delete(
        "/{booking_id:uuid}",
        status_code=200,
        **access(EVERYBODY, limit="booking_cancel", refuses=(BookingNotFound, EventStarted), sends={200: ("ETag",)}),
    )
    async def cancel(self, request: Request[Token, Any, Any], booking_id: FromPath[UUID]) -> Response[BookingShown]:
        """Cancel a booking, which returns its tickets once. A repeated request gets the same answer.

        The owner can cancel it until the event has started and its sales are closed, the event's organizer and admins
        until the event is over. `reason` is set if somebody else than the owner cancelled it.
        """
        booking = await process(request).stores.box_office.booking(booking_id)
        await check_visible(process(request), request.user, booking)
        return await shown(process(request), await cancel_booking(request, booking))

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
        """The guest list of an event, oldest booking first, for its organizer and admins.

        With `Accept: text/csv` it is the whole list as a file. No cell of it runs as a formula in a spreadsheet.
        """
        stores, guest_lists = process(request).stores, process(request).guest_lists
        check_owns_event(request.user, await stores.event_actions.find(event_id))
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
    # The reason is stored with the cancellation itself, so it is known even if the entry is lost.
    cancelled = await stores.box_office.cancel(
        booking, deadline=Deadline.OVER, reason=CANCELLED_BY_ADMIN if by_admin else CANCELLED_BY_ORGANIZER
    )
    # The owner may have been faster since the booking was read; then this call cancelled nothing.
    if by_admin and booking.status in HOLDING and cancelled.reason == CANCELLED_BY_ADMIN:
        await stores.accounts.note(
            actor_id=caller_id,
            action="booking.cancelled",
            target_id=booking.id,
            now=utc_now(),
            user_id=str(booking.user_id),
        )
    return cancelled


async def _reserve_with_code(request: FastRequest, order: Order) -> Reservation:
    """Reserve by an order with a promo code. Wrong codes are counted."""
    guesses, guesser = request.process.promo_guesses, guesser_of(request.process, request.scope, request.caller)
    if guesses.refusal_of(guesser) is not None:
        await request.process.stores.admission.admit(request.ask)
    return await guesses.tried(guesser, partial(request.process.stores.box_office.reserve, request.ask, order))


def _reserved(reservation: Reservation, booking: Booking, *, waited_s: int) -> Response[BookingShown]:
    """The answer to an order: 200 to a repeated one whose booking was held or final, 201 if it is held or confirmed."""
    headers = booking_headers(booking, waited_s=waited_s)
    headers["location"] = f"/api/v1/bookings/{booking.id}/status"
    if reservation.replayed:
        headers["idempotent-replayed"] = "true"
    held = booking.status is BookingStatus.HELD
    made = held or (waited_s > 0 and booking.status is BookingStatus.CONFIRMED)
    known = reservation.replayed and (held or reservation.booking.final)
    status = 200 if known else 201 if made else 202
    return FastResponse(BookingShown.of(booking), status_code=status, headers=headers)


async def _shown(at: Process, scope: Scope, booking: Booking, *, waited_s: int) -> Response[Any]:
    """The booking, or 304 to a caller that has this version of it."""
    balance = await balance_of(at, booking) if booking.body and has_balance(booking) else None
    headers = booking_headers(booking, balance, waited_s=waited_s)
    if matches(scope, headers["etag"]):
        return FastResponse(None, status_code=304, headers=headers)
    return FastResponse(BookingShown.of(booking, balance), status_code=200, headers=headers)


def _followed(request: FastRequest, booking: Booking) -> Response[Any]:
    """The booking's changes as a stream; 204 to a reader that has seen the final state."""
    if booking.final and is_known(request.scope, booking):
        return FastResponse(None, status_code=204, headers=booking_headers(booking))
    return Stream(
        changes(request.scope, request.process.stores.box_office, booking),
        media_type=STREAM_MEDIA_TYPE,
        headers=STREAM_HEADERS,
    )


async def _check_own_event(request: FastRequest, order: Order) -> None:
    """Admit an organizer, and raise Forbidden for an event of another one."""
    stores = request.process.stores
    await stores.admission.admit(request.ask, new_booking(order, account_id=request.caller.account_id))
    check_owns_event(request.caller, await stores.event_actions.find(order.event_id))


async def check_visible(at: Process, caller: Token, booking: Booking) -> None:
    """Raise BookingNotFound unless the caller is the booking's owner, the event's organizer or an admin."""
    if caller.account_id == booking.user_id or caller.role is Role.ADMIN:
        return
    detail = "There is no booking with this id."
    if caller.role is not Role.ORGANIZER:
        raise BookingNotFound(detail)
    event = await at.stores.event_actions.find(booking.event_id)
    try:
        check_owns_event(caller, event)
    except Forbidden:
        raise BookingNotFound(detail) from None
