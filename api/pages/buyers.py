"""The pages of buyers: what is on, an event, log in, sign up, bookings.

Pages are the same for everybody and are rendered without a session. What belongs to an account is read by the page's
script from the public API.
"""

from __future__ import annotations

from functools import cache, lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

import msgspec
from litestar import Controller, Request, Response, get
from litestar.params import FromPath, QueryParameter

from api.access.declarations import ANYONE, UNLIMITED, access
from api.context import process
from api.http.pagination import CURSOR_CHARS_MAX, SEARCH_CHARS_MAX
from api.pages.assets import asset
from api.pages.faults import ON_FAULTS
from api.pages.listing import EventSearch, found_events
from api.pages.offers import PromoCodeText, is_plain, offered_tickets
from api.pages.rendering import month, rendered, zone_of
from api.pages.sale_states import sale_state
from api.pages.structured_data import linked_data, summary
from domain.sales.money import DECIMALS

if TYPE_CHECKING:
    from api.pages.static import Static

RENDERED_MAX = 256
"""Rendered pages of events that a process keeps, some 15 KB each. A page of an event is rendered once for each change
of what it shows, however many people look at it."""

USUAL_DECIMALS = 2
"""The decimals of a currency in scripts, unless they are told another number."""

Text = Annotated[str, QueryParameter(max_length=SEARCH_CHARS_MAX)]
Position = Annotated[str | None, QueryParameter(max_length=CURSOR_CHARS_MAX)]


class BuyersController(Controller):
    """The pages of buyers."""

    include_in_schema = False
    exception_handlers = ON_FAULTS

    @get("/", **access(ANYONE))
    async def whats_on(
        self,
        request: Request[Any, Any, Any],
        q: Text = "",
        since: Annotated[str, QueryParameter(name="from", max_length=10)] = "",
        until: Annotated[str, QueryParameter(name="to", max_length=10)] = "",
        cursor: Position = None,
    ) -> Response[bytes]:
        """The events that are not over, soonest first."""
        asked = EventSearch(q=q.strip(), since=since, until=until)
        events, next_cursor = await found_events(process(request).showing, asked, cursor)
        more = f"/?{urlencode(asked.fields() | {'cursor': next_cursor})}" if next_cursor else ""
        months = [(name, list(group)) for name, group in groupby(events, key=month)]
        shown = rendered("whats_on", here="whats_on", asked=asked, months=months, more=more, fault=asked.fault())
        return shown.response(request.scope)

    @get("/events/{event_id:uuid}", **access(ANYONE))
    async def event(
        self, request: Request[Any, Any, Any], event_id: FromPath[UUID], code: PromoCodeText = ""
    ) -> Response[bytes]:
        """An event and its sale; with a promo code, also the ticket types that it unlocks."""
        at = process(request)
        event, (offered, code_fault) = await at.showing.of(event_id), await offered_tickets(request, event_id, code)
        origin = at.settings.public_url or str(request.base_url).rstrip("/")
        page = _event_page(event.content, offered, f"{origin}/events/{event_id}", code=code, code_fault=code_fault)
        return page.response(request.scope)

    @get("/login", **access(ANYONE))
    async def log_in(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The form to log in."""
        return _entry_page("Log in", "login").response(request.scope)

    @get("/signup", **access(ANYONE))
    async def sign_up(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The form to sign up."""
        return _entry_page("Sign up", "signup").response(request.scope)

    @get("/bookings", **access(ANYONE))
    async def bookings(self, request: Request[Any, Any, Any]) -> Response[bytes]:
        """The bookings of the account."""
        return _bookings_page().response(request.scope)

    @get("/bookings/{booking_id:uuid}", **access(ANYONE))
    async def booking(self, request: Request[Any, Any, Any], booking_id: FromPath[UUID]) -> Response[bytes]:
        """A booking, followed until it is final. The page has nothing of it; its script asks the API."""
        del booking_id
        return _booking_page().response(request.scope)

    @get("/assets/{name:str}", **access(ANYONE, limit=UNLIMITED))
    async def assets(self, request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
        """The stylesheet or a script. Nothing is read for it but memory, so it is not counted."""
        return asset(name).response(request.scope)


@cache
def _entry_page(heading: str, action: str) -> Static:
    return rendered("entry", width="narrow", heading=heading, action=action)


@cache
def _bookings_page() -> Static:
    return rendered("bookings", here="bookings")


@cache
def _booking_page() -> Static:
    """The page of any booking, with the decimals of currencies that have not two."""
    decimals = {code: number for code, number in DECIMALS.items() if number != USUAL_DECIMALS}
    return rendered("booking", here="bookings", width="middle", decimals=msgspec.json.encode(decimals).decode())


@lru_cache(RENDERED_MAX)
def _event_page(content: bytes, offers: bytes, url: str, *, code: str, code_fault: str) -> Static:
    """The page of an event, given as the API shows it and its ticket types."""
    event, offered = msgspec.json.decode(content), msgspec.json.decode(offers)
    return rendered(
        "event",
        event=event,
        offered=offered,
        types=offered["items"],
        plain=is_plain(event, offered),
        code=code,
        code_fault=code_fault,
        url=url,
        state=sale_state(event),
        zone=zone_of(event),
        summary=summary(event),
        linked_data=linked_data(event, offered, url),
    )
