"""The buyers: they book, poll, cancel and ask again, over HTTP, and insist until they are answered."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from msgspec import Struct

from ops.chaos.answers import Answer, Kind, Order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.sales.events import Event
    from ops.chaos.answers import AnswerLog
    from ops.evidence.bulk import Minted

PATIENCE_SECONDS = 3.0
"""After so long without an answer a buyer asks again, with the same key."""

IMPATIENCE_SECONDS = (0.002, 0.05)
"""After so long some hang up, about when the answer comes."""

RETRY_SECONDS = (0.02, 0.2)
"""Between two attempts. Shorter than Retry-After says: the point is to be a nuisance."""

POLLS_MAX = 20
WAIT_SECONDS = 1
"""How long a poll lets the server wait for a change."""

REMEMBERED_MAX = 200
"""Bookings of its own that a buyer comes back to."""

GIVE_UP_SECONDS = 20.0
"""How long buyers insist on the answers they lack when the faults are over."""

CONNECTIONS_MAX = 200


class Habits(Struct, frozen=True, kw_only=True):
    """How often a buyer does what, out of 1 for each group, and the seconds between two doings.

    Of doings: `cancel`, `replay` (an order of before is sent again) and `look` (a booking of before is
    polled); the rest books. Of bookings: `regret` (cancelled as soon as accepted), `follow` (polled
    until final). Of requests: `hang_up` (the answer is hardly waited for), `twice` (sent to both APIs
    at once).
    """

    think_s: float = 0.25
    cancel: float = 0.2
    replay: float = 0.1
    look: float = 0.1
    regret: float = 0.15
    follow: float = 0.5
    hang_up: float = 0.05
    twice: float = 0.08
    quantity_max: int = 3


class Ticket(Struct):
    """An order that was accepted, and whether it was cancelled since."""

    order: Order
    booking: UUID
    cancelled: bool = False


class TrialCrowd:
    """Buyers who come to some events."""

    def __init__(
        self, urls: Sequence[str], *, events: Sequence[Event], log: AnswerLog, habits: Habits, seed: str
    ) -> None:
        self.urls = urls
        self.events = events
        self.log = log
        self.habits = habits
        self.leaving = asyncio.Event()
        self.gone_s = float("inf")
        self.unanswered = 0
        self._seed = seed
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
        self.client = httpx.AsyncClient(limits=limits, trust_env=False)

    async def shop(self, accounts: Sequence[Minted]) -> None:
        """Let everybody buy until `leave`, and return when each has the answers it insisted on."""
        async with self.client, asyncio.TaskGroup() as group:
            for number, account in enumerate(accounts):
                buyer = TrialBuyer(self, account, random.Random(f"{self._seed} buyer {number}"))  # noqa: S311  (no secret)
                group.create_task(buyer.shop())

    def leave(self) -> None:
        """Nobody begins anything new."""
        self.gone_s = time.monotonic() + GIVE_UP_SECONDS
        self.leaving.set()


class TrialBuyer:
    """Somebody with an account, a habit and a memory."""

    def __init__(self, crowd: TrialCrowd, account: Minted, dice: random.Random) -> None:
        self._crowd = crowd
        self._account = account
        self._dice = dice
        self._habits = crowd.habits
        self._tickets: list[Ticket] = []
        self._orders = 0

    async def shop(self) -> None:
        """Do one thing after the other until it is time to leave."""
        while not self._crowd.leaving.is_set():
            await self._pause(self._dice.expovariate(1 / self._habits.think_s))
            await self._do_something()

    async def _do_something(self) -> None:
        habits, draw = self._habits, self._dice.random()
        ticket = self._dice.choice(self._tickets) if self._tickets else None
        if ticket and draw < habits.cancel:
            await self._cancel(ticket)
        elif ticket and draw < habits.cancel + habits.replay:
            await self._insist(Kind.BOOK, ticket.order)
        elif ticket and draw < habits.cancel + habits.replay + habits.look:
            await self._insist(Kind.POLL, ticket.order, booking=ticket.booking)
        else:
            await self._book()

    async def _book(self) -> None:
        self._orders += 1
        event = self._dice.choice(self._crowd.events)
        quantity = min(self._dice.randint(1, self._habits.quantity_max), event.max_per_user)
        order = Order(self._account.id, event.id, f"{self._account.id.hex}-{self._orders}", quantity)
        answer = await self._perhaps_twice(Kind.BOOK, order)
        if answer is None or not answer.accepted or answer.booking is None:
            return
        ticket = Ticket(order, answer.booking)
        self._remember(ticket)
        if self._happens(self._habits.regret):
            await self._cancel(ticket)
        elif self._happens(self._habits.follow):
            await self._follow(ticket)

    async def _follow(self, ticket: Ticket) -> None:
        for _ in range(POLLS_MAX):
            answer = await self._insist(Kind.POLL, ticket.order, booking=ticket.booking, wait=True)
            if answer is None or answer.state != "pending" or self._crowd.leaving.is_set():
                return

    async def _cancel(self, ticket: Ticket) -> None:
        ticket.cancelled = True
        await self._perhaps_twice(Kind.CANCEL, ticket.order, booking=ticket.booking)

    def _remember(self, ticket: Ticket) -> None:
        self._tickets.append(ticket)
        if len(self._tickets) > REMEMBERED_MAX:
            del self._tickets[0]

    async def _perhaps_twice(self, kind: Kind, order: Order, *, booking: UUID | None = None) -> Answer | None:
        if not self._happens(self._habits.twice):
            return await self._insist(kind, order, booking=booking)
        first, _ = await asyncio.gather(
            self._insist(kind, order, booking=booking), self._insist(kind, order, booking=booking)
        )
        return first

    async def _insist(
        self, kind: Kind, order: Order, *, booking: UUID | None = None, wait: bool = False
    ) -> Answer | None:
        """Ask until there is a conclusive answer; None when there was none until everybody was gone."""
        while time.monotonic() < self._crowd.gone_s:
            answer = await self._ask(kind, order, booking=booking, wait=wait)
            self._crowd.log.append(answer)
            if answer.conclusive:
                return answer
            await asyncio.sleep(self._dice.uniform(*RETRY_SECONDS))
        self._crowd.unanswered += 1
        return None

    async def _ask(self, kind: Kind, order: Order, *, booking: UUID | None, wait: bool) -> Answer:
        """One request to one of the APIs."""
        request = self._request(kind, order, booking=booking, wait=wait)
        hangs_up = self._happens(self._habits.hang_up) and not self._crowd.leaving.is_set()
        timeout_s = self._dice.uniform(*IMPATIENCE_SECONDS) if hangs_up else PATIENCE_SECONDS
        sent_s = time.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._crowd.client.send(request)
        except (httpx.TransportError, TimeoutError):
            return Answer(kind=kind, order=order, booking=booking, sent_s=sent_s, answered_s=time.monotonic())
        return _answer(kind, order, booking, response, sent_s=sent_s)

    def _request(self, kind: Kind, order: Order, *, booking: UUID | None, wait: bool) -> httpx.Request:
        headers = {"Authorization": f"Bearer {self._account.token}"}
        bookings = f"{self._dice.choice(self._crowd.urls)}/api/v1/bookings"
        build = self._crowd.client.build_request
        match kind:
            case Kind.BOOK:
                body = {"event_id": str(order.event), "quantity": order.quantity}
                return build("POST", bookings, headers=headers | {"Idempotency-Key": order.key}, json=body)
            case Kind.CANCEL:
                return build("DELETE", f"{bookings}/{booking}", headers=headers)
            case Kind.POLL:
                prefer = {"Prefer": f"wait={WAIT_SECONDS}"} if wait else {}
                return build("GET", f"{bookings}/{booking}/status", headers=headers | prefer)

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than the shop is open."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._crowd.leaving.wait(), seconds)

    def _happens(self, share: float) -> bool:
        return self._dice.random() < share


def _answer(kind: Kind, order: Order, booking: UUID | None, response: httpx.Response, *, sent_s: float) -> Answer:
    body = _body(response)
    named = body.get("id")
    return Answer(
        kind=kind,
        order=order,
        sent_s=sent_s,
        answered_s=time.monotonic(),
        status=response.status_code,
        booking=UUID(named) if response.is_success and named else booking,
        state=body.get("status") if response.is_success else None,
        reason=body.get("reason"),
        code=body.get("code"),
    )


def _body(response: httpx.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
