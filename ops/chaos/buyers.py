"""The buyers of a trial: they book, poll, cancel and retry over HTTP until they are answered."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
from msgspec import Struct, structs

from ops.evidence.answers import Answer, Kind, about
from ops.evidence.http import answered, http_request, read_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.sales.events import Event
    from ops.evidence.answers import AnswerLog
    from ops.evidence.bulk import Minted

PATIENCE_SECONDS = 3.0
"""After so long without an answer a buyer retries with the same key."""

IMPATIENCE_SECONDS = (0.002, 0.05)
"""After so long some buyers hang up, at about the time of the answer."""

RETRY_SECONDS = (0.02, 0.2)
"""The pause between two attempts. It is shorter than Retry-After says, so that buyers are a nuisance."""

POLLS_MAX = 20
WAIT_SECONDS = 1
"""For how long a long poll lets the server hold its answer back."""

REMEMBERED_MAX = 200
"""Its own bookings that a buyer remembers."""

GIVE_UP_SECONDS = 20.0
"""For how long buyers retry after the faults."""

CONNECTIONS_MAX = 200


class Habits(Struct, frozen=True, kw_only=True):
    """The habits of a buyer: the mean pause between two actions in seconds, and shares of 1.

    Of actions: `cancel`, `replay` (an earlier order is sent again), `look` (an earlier booking is polled); all other
    actions are new bookings. Of bookings: `regret` (cancelled as soon as accepted), `follow` (polled until final). Of
    requests: `hang_up` (the buyer does not wait for the answer), `twice` (sent twice at once).
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


class TrialCrowd:
    """The buyers of some events."""

    def __init__(
        self, urls: Sequence[str], *, events: Sequence[Event], log: AnswerLog, habits: Habits, seed: str
    ) -> None:
        self.urls = urls
        self.events = events
        self.log = log
        self.answers: list[Answer] = []
        self.habits = habits
        self.leaving = asyncio.Event()
        self.gone_s = float("inf")
        self.unanswered = 0
        self._seed = seed
        limits = httpx.Limits(max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX)
        self.client = httpx.AsyncClient(limits=limits, trust_env=False)

    async def shop(self, accounts: Sequence[Minted]) -> None:
        """Buy until `leave`; returns when each buyer has its answers."""
        async with self.client, asyncio.TaskGroup() as group:
            for number, account in enumerate(accounts):
                buyer = TrialBuyer(self, account, random.Random(f"{self._seed} buyer {number}"))  # noqa: S311  (no secret)
                group.create_task(buyer.shop())

    def leave(self) -> None:
        """Let buyers begin nothing new."""
        self.gone_s = time.monotonic() + GIVE_UP_SECONDS
        self.leaving.set()


class TrialBuyer:
    """One buyer, who remembers its bookings."""

    def __init__(self, crowd: TrialCrowd, account: Minted, dice: random.Random) -> None:
        self._crowd = crowd
        self._account = account
        self._dice = dice
        self._habits = crowd.habits
        self._accepted: list[Answer] = []
        self._orders = 0

    async def shop(self) -> None:
        """Act, pause, and repeat until it is time to leave."""
        while not self._crowd.leaving.is_set():
            await self._pause(self._dice.expovariate(1 / self._habits.think_s))
            await self._do_something()

    async def _do_something(self) -> None:
        habits, draw = self._habits, self._dice.random()
        earlier = self._dice.choice(self._accepted) if self._accepted else None
        if earlier and draw < habits.cancel:
            await self._perhaps_twice(about(Kind.CANCEL, earlier))
        elif earlier and draw < habits.cancel + habits.replay:
            await self._insist(about(Kind.BOOK, earlier))
        elif earlier and draw < habits.cancel + habits.replay + habits.look:
            await self._insist(about(Kind.POLL, earlier))
        else:
            await self._book()

    async def _book(self) -> None:
        self._orders += 1
        event = self._dice.choice(self._crowd.events)
        order = Answer(
            kind=Kind.BOOK,
            buyer=self._account.id,
            event=event.id,
            key=f"{self._account.id.hex}-{self._orders}",
            quantity=min(self._dice.randint(1, self._habits.quantity_max), event.max_per_user),
        )
        accepted = await self._perhaps_twice(order)
        if accepted is None or not accepted.accepted or accepted.booking is None:
            return
        self._accepted = [*self._accepted, accepted][-REMEMBERED_MAX:]
        if self._happens(self._habits.regret):
            await self._perhaps_twice(about(Kind.CANCEL, accepted))
        elif self._happens(self._habits.follow):
            await self._follow(accepted)

    async def _follow(self, accepted: Answer) -> None:
        for _ in range(POLLS_MAX):
            answer = await self._insist(about(Kind.LONG_POLL, accepted))
            if answer is None or answer.state != "pending" or self._crowd.leaving.is_set():
                return

    async def _perhaps_twice(self, request: Answer) -> Answer | None:
        if not self._happens(self._habits.twice):
            return await self._insist(request)
        first, _ = await asyncio.gather(self._insist(request), self._insist(request))
        return first

    async def _insist(self, request: Answer) -> Answer | None:
        """Ask until there is a conclusive answer; None if there is none when the run is over."""
        while time.monotonic() < self._crowd.gone_s:
            answer = await self._ask(request)
            self._crowd.log.append(answer)
            self._crowd.answers.append(answer)
            if answer.conclusive:
                return answer
            await asyncio.sleep(self._dice.uniform(*RETRY_SECONDS))
        self._crowd.unanswered += 1
        return None

    async def _ask(self, request: Answer) -> Answer:
        """Send one request to one of the API processes."""
        hangs_up = self._happens(self._habits.hang_up) and not self._crowd.leaving.is_set()
        timeout_s = self._dice.uniform(*IMPATIENCE_SECONDS) if hangs_up else PATIENCE_SECONDS
        sent_s = time.monotonic()
        sent = structs.replace(request, sent_s=sent_s)
        try:
            async with asyncio.timeout(timeout_s):
                response = await self._crowd.client.send(self._http(request))
        except (httpx.TransportError, TimeoutError):
            return structs.replace(sent, took_ms=_ms_since(sent_s))
        fields = read_fields(response.content)
        return answered(sent, fields, status=response.status_code, took_ms=_ms_since(sent_s))

    def _http(self, request: Answer) -> httpx.Request:
        http = http_request(request, token=self._account.token, wait_seconds=WAIT_SECONDS)
        url = self._dice.choice(self._crowd.urls) + http.path
        return self._crowd.client.build_request(http.method, url, headers=http.headers, content=http.body)

    async def _pause(self, seconds: float) -> None:
        """Wait, at most until it is time to leave."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._crowd.leaving.wait(), seconds)

    def _happens(self, share: float) -> bool:
        return self._dice.random() < share


def _ms_since(sent_s: float) -> float:
    return (time.monotonic() - sent_s) * 1000
