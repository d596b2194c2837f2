"""Events and their sales: `/events`."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, cast
from uuid import UUID

from litestar import Controller, MediaType, Request, Response, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET, Meta, UnsetType, field, structs

from api.access.declarations import ANYONE, ORGANIZERS, access
from api.access.guards import check_owns_event
from api.context import process
from api.http.bodies import LINE_PATTERN, TEXT_PATTERN, Body, Broken, nfc
from api.http.conditional import expected_version, matches
from api.http.pagination import LIMIT_DEFAULT, SEARCH_CHARS_MAX, Cursor, Limit, Skip, read_cursor, searched
from api.reads.events import ListAsked
from api.resources.ticket_types import TicketTypeDraft
from api.shapes import EventShown, EventShownPage, LocalTime
from domain.accounts.tokens import Token, unauthenticated, utc_now
from domain.kernel.event_status import EventStatus
from domain.kernel.refusals import (
    BrokenRule,
    CapacityBelowSold,
    CurrencyFixed,
    EventCancelled,
    EventNotFound,
    EventOver,
    Invalid,
    Unauthenticated,
    VersionMismatch,
)
from domain.sales.events import (
    HOLD_SECONDS_DEFAULT,
    HOLD_SECONDS_MAX,
    HOLD_SECONDS_MIN,
    HOLDS_PER_USER_DEFAULT,
    EventChanges,
    NewEvent,
    Payment,
    RefundPolicy,
    broken_payment,
    broken_times,
)
from domain.sales.money import Currency, broken_currency
from domain.sales.starts import start_of
from domain.sales.ticket_types import TICKET_TYPES_MAX
from domain.sales.zones import DEFAULT_ZONE, ZoneName

if TYPE_CHECKING:
    from collections.abc import Iterable

    from api.reads.events import EncodedEvent

TITLE_CHARS_MIN = 1
LOCATION_CHARS_MIN = 3

Title = Annotated[str, Meta(min_length=TITLE_CHARS_MIN, max_length=150, pattern=LINE_PATTERN)]
Location = Annotated[str, Meta(min_length=LOCATION_CHARS_MIN, max_length=200, pattern=LINE_PATTERN)]
Description = Annotated[str, Meta(max_length=10_000, pattern=TEXT_PATTERN)]
EventTime = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset, in 2000 to 2100.")]
StartTime = Annotated[
    datetime,
    Meta(tz=True, description="RFC 3339 in UTC or with the offset of `time_zone` at this time, in 2000 to 2100."),
]
SeriesId = Annotated[UUID, Meta(description="Groups the dates of one show. Choose a random one for the first date.")]
Capacity = Annotated[int, Meta(ge=1, le=1_000_000)]
MaxPerUser = Annotated[int, Meta(ge=1, le=100)]
HoldSeconds = Annotated[int, Meta(ge=HOLD_SECONDS_MIN, le=HOLD_SECONDS_MAX)]
MaxHolds = Annotated[int, Meta(ge=1, le=100)]

TicketTypes = Annotated[list[TicketTypeDraft], Meta(max_length=TICKET_TYPES_MAX)]

Search = Annotated[
    str | None,
    QueryParameter(
        max_length=SEARCH_CHARS_MAX,
        description="A part of the title or the location; case and accents make no difference.",
    ),
]
Mine = Annotated[
    bool, QueryParameter(description="Only the caller's own events, also cancelled ones. It needs a token.")
]
Status = Annotated[
    EventStatus | None,
    QueryParameter(description="Only events with this status at the moment; `cancelled` only with `mine`."),
]
OfSeries = Annotated[UUID | None, QueryParameter(description="Only the dates of this show.")]
UpcomingOnly = Annotated[
    bool,
    QueryParameter(
        description="Leave out events that are over: after `ends_at`, or 24 h after `starts_at` without one."
    ),
]


class EventDraft(Body):
    """A new event. It starts at `starts_at`, or at `starts_at_local` in its `time_zone`.

    Without `ticket_types` it has one free type, "General admission", whose id is the event's.
    """

    title: Title
    location: Location
    capacity: Capacity
    time_zone: ZoneName = DEFAULT_ZONE
    starts_at: StartTime | UnsetType = UNSET
    starts_at_local: LocalTime | UnsetType = UNSET
    description: Description = ""
    ends_at: EventTime | None = None
    max_per_user: MaxPerUser = 8
    sales_open_at: EventTime | None = None
    sales_close_at: EventTime | None = None
    series_id: SeriesId | None = None
    currency: Currency | None = None
    payment: Payment = Payment.NONE
    hold_seconds: HoldSeconds = HOLD_SECONDS_DEFAULT
    hold_extend_until_seconds: HoldSeconds | None = None
    max_holds_per_user: MaxHolds = HOLDS_PER_USER_DEFAULT
    refund_on_owner_cancel: RefundPolicy = RefundPolicy.NONE
    ticket_types: TicketTypes = field(default_factory=list)

    def broken_rules(self) -> Iterable[Broken]:
        """Texts must not be empty, times must not contradict each other, and prices need a currency."""
        yield from _broken_texts(self)
        try:
            event = self.event()
        except Invalid as refused:
            yield from _errors(refused)
            return
        yield from (Broken(f"/{name}", message) for name, message in broken_times(event, now=utc_now()))
        yield from (Broken(f"/{name}", message) for name, message in broken_payment(event))

    def event(self) -> NewEvent:
        """The event for the engine; raises Invalid if its times contradict its zone."""
        fields = _fields(self) | {"ticket_types": tuple(each.ticket_type() for each in self.ticket_types)}
        times = {name: fields.pop(name, None) for name in ("starts_at", "starts_at_local")}
        start = start_of(time_zone=fields.pop("time_zone"), **times)
        return NewEvent(**fields, time_zone=start.time_zone, starts_at=start.starts_at)


class EventPatch(Body):
    """Changes of an event. Fields that are left out stay as they are.

    With another `time_zone` alone, `starts_at` stays and `starts_at_local` follows.
    """

    title: Title | UnsetType = UNSET
    location: Location | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    time_zone: ZoneName | UnsetType = UNSET
    starts_at: StartTime | UnsetType = UNSET
    starts_at_local: LocalTime | UnsetType = UNSET
    ends_at: EventTime | UnsetType | None = UNSET
    capacity: Capacity | UnsetType = UNSET
    max_per_user: MaxPerUser | UnsetType = UNSET
    sales_open_at: EventTime | UnsetType | None = UNSET
    sales_close_at: EventTime | UnsetType | None = UNSET
    series_id: SeriesId | UnsetType | None = UNSET
    currency: Currency | UnsetType | None = UNSET
    payment: Payment | UnsetType = UNSET
    hold_seconds: HoldSeconds | UnsetType = UNSET
    hold_extend_until_seconds: HoldSeconds | UnsetType | None = UNSET
    max_holds_per_user: MaxHolds | UnsetType = UNSET
    refund_on_owner_cancel: RefundPolicy | UnsetType = UNSET
    paused: bool | UnsetType = UNSET

    def broken_rules(self) -> Iterable[Broken]:
        """Texts must not be empty. The engine checks times together with those of the event."""
        yield from _broken_texts(self)
        try:
            self.changes()
        except Invalid as refused:
            yield from _errors(refused)

    def changes(self) -> EventChanges:
        """The changes for the engine."""
        return EventChanges(**_fields(self))


class EventController(Controller):
    """Events and their sales."""

    path = "/events"
    tags = ("Events",)

    @get("/", **access(ANYONE, refuses=(Unauthenticated,)))
    async def page(  # noqa: PLR0913, PLR0917  (what a list can be asked for, always by name)
        self,
        request: Request[Any, Any, Any],
        q: Search = None,
        upcoming_only: UpcomingOnly = True,  # noqa: FBT002  (a query parameter)
        mine: Mine = False,  # noqa: FBT002  (a query parameter)
        status: Status = None,
        series_id: OfSeries = None,
        limit: Limit = LIMIT_DEFAULT,
        skip: Skip = 0,
        cursor: Cursor = None,
    ) -> Response[EventShownPage]:
        """List events that are not cancelled, soonest first; with `mine` the caller's own events of every status.

        The `total` of a list that is longer than a page was counted within the last second. A list with a `status`
        has no `total`, and its pages may be short, even empty, before `next_cursor` is null.
        """
        if status is EventStatus.CANCELLED and not mine:
            pointer, message = "/status", "cancelled events are only listed with mine=true"
            raise Invalid.at(pointer, message)
        after, skipped = _position(cursor, status)
        asked = ListAsked(
            limit=limit,
            skip=skip + skipped,
            after=after,
            status=status,
            upcoming_only=upcoming_only,
            search=searched(q),
            organizer_id=_caller_id(request) if mine else None,
            series_id=series_id,
        )
        return Response(cast("Any", await process(request).showing.page(asked)), media_type=MediaType.JSON)

    @get(
        "/{event_id:uuid}",
        **access(
            ANYONE,
            refuses=(EventNotFound,),
            reads=("If-None-Match",),
            sends={200: ("ETag",), 304: ("ETag",)},
        ),
    )
    async def show(self, request: Request[Any, Any, Any], event_id: FromPath[UUID]) -> Response[EventShown]:
        """Show an event with its remaining tickets at this moment."""
        return _response(request, await process(request).showing.of(event_id))

    @post("/", status_code=201, **access(ORGANIZERS, limit="event_create", sends={201: ("ETag", "Location")}))
    async def create(self, request: Request[Token, Any, Any], data: JSONBody[EventDraft]) -> Response[EventShown]:
        """Put an event on sale."""
        event = await process(request).stores.event_actions.create(data.event(), caller=request.user.caller)
        return _response(request, await process(request).showing.of(event.id), status_code=201)

    @patch(
        "/{event_id:uuid}",
        **access(
            ORGANIZERS,
            limit="event_update",
            refuses=(EventNotFound, EventCancelled, CapacityBelowSold, CurrencyFixed, VersionMismatch),
            reads=("If-Match",),
            sends={200: ("ETag",)},
        ),
    )
    async def change(
        self, request: Request[Token, Any, Any], event_id: FromPath[UUID], data: JSONBody[EventPatch]
    ) -> Response[EventShown]:
        """Change an event. Sales follow the change at once. With `If-Match`, only that version is changed."""
        event_actions = process(request).stores.event_actions
        event = await event_actions.find(event_id)
        check_owns_event(request.user, event)
        expected = expected_version(request.scope, event.version)
        await event_actions.change(event_id, data.changes(), caller=request.user.caller, expected_version=expected)
        return _response(request, await process(request).showing.of(event_id))

    @delete(
        "/{event_id:uuid}",
        status_code=200,
        **access(ORGANIZERS, limit="event_delete", refuses=(EventNotFound, EventOver), sends={200: ("ETag",)}),
    )
    async def cancel(self, request: Request[Token, Any, Any], event_id: FromPath[UUID]) -> Response[EventShown]:
        """Cancel an event that is not over. Sales stop at once; its bookings are cancelled in the background."""
        event_actions = process(request).stores.event_actions
        check_owns_event(request.user, await event_actions.find(event_id))
        await event_actions.cancel(event_id, caller=request.user.caller)
        return _response(request, await process(request).showing.of(event_id))


def _position(cursor: str | None, status: EventStatus | None) -> tuple[tuple[datetime, UUID] | None, int]:
    """The position at which a page begins, and the number of events to skip from there; raises Invalid."""
    if status is None:
        return read_cursor(cursor, tuple[datetime, UUID]), 0
    position = read_cursor(cursor, tuple[datetime, UUID, int])
    return (position[:2], position[2]) if position else (None, 0)


def _caller_id(request: Request[Any, Any, Any]) -> UUID:
    """The account of the caller; raises Unauthenticated without a valid token."""
    caller: Token | None = request.scope["user"]
    if caller is None:
        raise unauthenticated()
    return caller.account_id


def _response(request: Request[Any, Any, Any], event: EncodedEvent, *, status_code: int = 200) -> Response[EventShown]:
    """An event, or 304 if the caller has its current version."""
    headers = {"ETag": event.etag, "Cache-Control": "no-cache"}
    if status_code == 201:  # noqa: PLR2004
        headers["Location"] = f"/api/v1/events/{event.id}"
    if request.method == "GET" and matches(request.scope, event.etag):
        return Response(cast("Any", None), status_code=304, headers=headers)
    return Response(cast("Any", event.content), status_code=status_code, headers=headers, media_type=MediaType.JSON)


def _errors(refused: Invalid) -> Iterable[Broken]:
    """The rules that a refusal of the engine names."""
    return (Broken(**error) for error in cast("list[BrokenRule]", refused.facts["errors"]))


def _broken_texts(body: EventDraft | EventPatch) -> Iterable[Broken]:
    for name, least in (("title", TITLE_CHARS_MIN), ("location", LOCATION_CHARS_MIN)):
        text = getattr(body, name)
        if text is not UNSET and len(nfc(text)) < least:
            yield Broken(f"/{name}", f"Expected `str` of length >= {least} without the space around it")
    if isinstance(body.currency, str) and (message := broken_currency(body.currency)):
        yield Broken("/currency", message)


def _fields(body: EventDraft | EventPatch) -> dict[str, Any]:
    """The fields that are set, with normalized texts; raises Invalid if a local time is not in the calendar."""
    fields = {
        name: nfc(value) if type(value) is str else value
        for name, value in structs.asdict(body).items()
        if value is not UNSET
    }
    if "starts_at_local" in fields:
        fields["starts_at_local"] = _local_time(fields["starts_at_local"])
    return fields


def _local_time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pointer, message = "/starts_at_local", "is not a date and time of the calendar"
        raise Invalid.at(pointer, message) from None
