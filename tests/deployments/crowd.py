"""Buyers who book, poll and cancel at any process that answers, and keep what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import uuid4

import httpx
from msgspec import structs

from domain.background.rebuilding import rebuild
from domain.kernel.refusals import Unavailable
from domain.store.redis.scripts import InventoryState
from ops.chaos.holds.orders import HOLDS_MAX
from ops.evidence.answers import NO_ANSWER, Answer, Kind, Outcome, about
from ops.evidence.checks import check
from ops.evidence.evidence import Evidence
from ops.evidence.http import answered, http_request, read_fields
from tests.books import snapshot
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from domain.engine import Stores
    from domain.sales.events import Event
    from ops.evidence.bulk import Minted

ANSWER_SECONDS_MAX = 30.0

LAST_ANSWERS_SECONDS_MAX = 2 * ANSWER_SECONDS_MAX
"""How long the buyers may take to leave: a request and the pause that its answer asks for."""

CANCELLED_SHARE = 0.1

LOOK_SECONDS = 0.01


class Crowd:
    """One loop for each account. A 503 is believed: its buyer comes again after the seconds it says."""

    def __init__(self, accounts: Sequence[Minted], events: Sequence[Event]) -> None:
        self._accounts = accounts
        self.events = events
        self.urls: list[str] = []
        self.answers: list[Answer] = []
        self.told_others: list[Answer] = []
        """What other buyers were told of the same events."""
        self.sold_at: Counter[str] = Counter()
        """Accepted bookings by the process that accepted them."""
        self._failure = ""

    @property
    def requests(self) -> int:
        """Answers of any kind."""
        return sum(answer.status != NO_ANSWER for answer in self.answers)

    @property
    def refused_s(self) -> list[float]:
        """When each 503 came, on the monotonic clock."""
        return [answer.answered_s for answer in self.answers if answer.status == 503]

    @property
    def odd(self) -> list[Answer]:
        """Answers that no buyer should get: there are tickets for all."""
        unwanted = {Outcome.REFUSED, Outcome.FAILED}
        return [each for each in self.answers if each.outcome in unwanted and each.status not in {NO_ANSWER, 503}]

    async def buy(self) -> None:
        """Come again and again until cancelled."""
        async with httpx.AsyncClient(timeout=ANSWER_SECONDS_MAX, trust_env=False) as client:
            await asyncio.gather(*(self._buyer(client, account) for account in self._accounts))

    async def until_sold(self, number: int, *urls: str) -> None:
        """Return when each of these processes has sold so many more."""
        before = Counter(self.sold_at)

        async def sold() -> bool:
            assert not self._failure, self._failure
            assert not self.odd, self.odd
            return all(self.sold_at[url] - before[url] >= number for url in urls)

        await eventually(sold)

    async def _buyer(self, client: httpx.AsyncClient, account: Minted) -> None:
        for number in itertools.count():
            if not self.urls:
                return
            url = self.urls[number % len(self.urls)]
            try:
                await self._once(client, url, account)
            except Exception as error:
                if not isinstance(error, httpx.TransportError):
                    self._failure = repr(error)
                    raise
                # The process has ended; what it was asked for may have been done, and nobody was told.
                await asyncio.sleep(LOOK_SECONDS)

    async def _once(self, client: httpx.AsyncClient, url: str, account: Minted) -> None:
        event = random.choice(self.events)
        order = Answer(kind=Kind.BOOK, buyer=account.id, event=event.id, key=uuid4().hex, quantity=1)
        accepted = await self._send(client, url, account, order)
        if not accepted.accepted:
            return
        self.sold_at[url] += 1
        await self._send(client, url, account, about(Kind.POLL, accepted))
        if random.random() < CANCELLED_SHARE:
            await self._send(client, url, account, about(Kind.CANCEL, accepted))

    async def _send(self, client: httpx.AsyncClient, url: str, account: Minted, request: Answer) -> Answer:
        http = http_request(request, token=account.token, wait_seconds=0)
        sent_s = time.monotonic()
        sent = structs.replace(request, sent_s=sent_s)
        try:
            response = await client.request(http.method, url + http.path, headers=http.headers, content=http.body)
        except httpx.TransportError:
            self.answers.append(structs.replace(sent, took_ms=(time.monotonic() - sent_s) * 1000))
            raise
        took_ms = (time.monotonic() - sent_s) * 1000
        answer = answered(sent, read_fields(response.content), status=response.status_code, took_ms=took_ms)
        self.answers.append(answer)
        if answer.status == 503:
            await asyncio.sleep(float(response.headers["Retry-After"]))
        return answer


@asynccontextmanager
async def buying_at(stores: Stores, crowd: Crowd, *urls: str) -> AsyncIterator[None]:
    """Let them buy at these versions until the block ends; then hold the books against what they were told."""
    crowd.urls = list(urls)
    buying = asyncio.create_task(crowd.buy())
    try:
        yield
        assert crowd.urls == [] or not buying.done()
        # A request that is given up here is still carried out by its process, after the books were read. So the buyers
        # get their last answers first.
        crowd.urls = []
        await asyncio.wait_for(buying, LAST_ANSWERS_SECONDS_MAX)
    finally:
        buying.cancel()
        with suppress(asyncio.CancelledError):
            await buying
    assert crowd.odd == []
    await eventually(lambda: nothing_waits(stores))
    found = await violations(stores, crowd)
    assert found == {}, found


async def violations(stores: Stores, crowd: Crowd) -> dict[str, list[str]]:
    """What the independent checker finds, but for what it asks the API and the engine's audit: versions come and go."""
    evidence = Evidence(
        answers=crowd.answers + crowd.told_others,
        final_s=0.0,
        final_s_max=0.0,
        account_sizes={"holds": HOLDS_MAX},
        faults=True,
        snapshot=await snapshot(stores),
        told={},
        shown={},
        audited=[],
        differences=0,
        repairs=[],
    )
    return {name: found for name, found in check(evidence).items() if found and name != "the_api_and_rows_agree"}


async def nothing_waits(stores: Stores) -> bool:
    """Whether everything accepted is in PostgreSQL, and no rebuild is under way that still has counters to write.

    This process learns the epoch by asking. After a release of a lower layout it takes over.
    """
    try:
        if await stores.scripts.look() is InventoryState.WAITING:
            await rebuild(stores)
        if await stores.scripts.look() is not InventoryState.IN_ORDER:
            return False
        pulses = await stores.unpersisted.pulses()
    except Unavailable:
        return False
    return not any(pulse.unpersisted_count for pulse in pulses)
