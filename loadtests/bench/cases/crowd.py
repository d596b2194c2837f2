"""Accounts that are signed in, and the events that they book."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING
from uuid import UUID

import msgspec
import uvloop

from domain.accounts.accounts import Role
from loadtests.bench.load.client import ask_all
from loadtests.bench.load.generator import Unexpected
from loadtests.bench.load.requests import order, request
from loadtests.sales.profiles import SaleProfile
from loadtests.sales.setup import create_event, create_pool, create_promo_code, create_ticket_type

if TYPE_CHECKING:
    from collections.abc import Sequence

    from loadtests.bench.load.client import HttpReply
    from loadtests.bench.stack import BenchStack
    from ops.evidence.bulk import Minted

ORGANIZERS = 40
"""Each may make five events a minute; together they make as many as a bench needs."""

CAPACITY_MAX = 1_000_000
MAX_PER_USER = 100

PROMO_CODE = "BENCH"

CONNECTIONS = 32
"""Connections for requests that prepare a measurement."""


class SignedInBuyers:
    """Buyers whose sessions are in Redis, as after a login."""

    def __init__(self, stack: BenchStack, *, size: int) -> None:
        self._stack = stack
        self.buyers: list[Minted] = stack.mint(role=Role.ATTENDEE, count=size)
        self._organizers = cycle(stack.mint(role=Role.ORGANIZER, count=ORGANIZERS))
        self.ask([request("GET", "/api/v1/me", token=buyer.token) for buyer in self.buyers], expected=200)

    def event(self, *, capacity: int = CAPACITY_MAX) -> UUID:
        """Put an event on sale."""
        profile = SaleProfile(name="bench", title="Bench", tickets=capacity, max_per_user=MAX_PER_USER, arrivals=())
        return create_event(self._stack.api.url, token=next(self._organizers).token, profile=profile)

    def priced_orders(self, *, key: str) -> tuple[UUID, list[bytes]]:
        """A new event with two ticket types in a pool, and one booking of each buyer: a ticket of each, with a code."""
        url, token = self._stack.api.url, next(self._organizers).token
        profile = SaleProfile(name="bench", title="Bench", tickets=CAPACITY_MAX, max_per_user=MAX_PER_USER, arrivals=())
        event_id = create_event(url, token=token, profile=profile, currency="EUR", payment="external")
        pool = create_pool(url, event_id, token=token, name="Stalls", size=CAPACITY_MAX)
        types = [
            create_ticket_type(url, event_id, token=token, name=name, price_minor=price_minor, pools=[str(pool)])
            for name, price_minor in (("Adult", 3_900), ("Child", 1_900))
        ]
        create_promo_code(url, event_id, token=token, code=PROMO_CODE, percent_off=10)
        items = [{"ticket_type_id": each, "quantity": 1} for each in types]
        body = {"event_id": event_id, "items": items, "promo_code": PROMO_CODE}
        return event_id, [
            request("POST", "/api/v1/bookings", token=buyer.token, body=body, key=key) for buyer in self.buyers
        ]

    def sold_out_event(self) -> UUID:
        """An event whose only ticket is sold."""
        event_id = self.event(capacity=1)
        self.book(event_id, self.buyers[:1])
        return event_id

    def orders(self, event_ids: Sequence[UUID], *, key: str) -> list[bytes]:
        """One booking of each buyer for each event, one event after the other; every key is used once."""
        return [
            order(event_id, token=buyer.token, key=f"{key}-{event_id}")
            for event_id in event_ids
            for buyer in self.buyers
        ]

    def book(self, event_id: UUID, buyers: Sequence[Minted]) -> list[UUID]:
        """Book a ticket for each buyer; returns the ids of the bookings."""
        key = f"booked-{event_id}"
        replies = self.ask([order(event_id, token=buyer.token, key=key) for buyer in buyers], expected=202)
        return [UUID(msgspec.json.decode(reply.body)["id"]) for reply in replies]

    def ask(self, requests: list[bytes], *, expected: int) -> list[HttpReply]:
        """Send the API each request once; raises Unexpected unless every answer has this status."""
        replies = uvloop.run(ask_all(self._stack.api.url, requests, connections=min(CONNECTIONS, len(requests))))
        for reply in replies:
            if reply.status != expected:
                message = f"expected {expected}, got {reply.status}: {reply.body.decode(errors='replace')}"
                raise Unexpected(message)
        return replies
