"""Buyers who book, poll and cancel at whichever process answers, and remember what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
from sqlalchemy import text

from domain.kernel.refusals import Unavailable
from domain.store.redis.scripts import InventoryState
from tests.books import differences, pool
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
        self.statuses: Counter[int] = Counter()
        self.sold_at: Counter[str] = Counter()
        """Accepted bookings by the process that accepted them."""
        self.refused_s: list[float] = []
        """When each 503 came, on the monotonic clock."""
        self.booked: set[UUID] = set()
        self.regretted: set[UUID] = set()
        """Bookings whose cancellation was asked for; `cancelled` are those of which it was answered."""
        self.cancelled: set[UUID] = set()
        self._failure = ""
        self.odd: list[str] = []
        """Answers that no buyer should get."""

    @property
    def requests(self) -> int:
        """Answers of any kind."""
        return sum(self.statuses.values())

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
        headers = {"Authorization": f"Bearer {account.token}"}
        for number in itertools.count():
            if not self.urls:
                return
            url = self.urls[number % len(self.urls)]
            try:
                await self._once(client, url, headers)
            except Exception as error:
                if not isinstance(error, httpx.TransportError):
                    self._failure = repr(error)
                    raise
                # The process has ended; what it was asked for may have been done, and nobody was told.
                await asyncio.sleep(LOOK_SECONDS)

    async def _once(self, client: httpx.AsyncClient, url: str, headers: dict[str, str]) -> None:
        body = {"event_id": str(random.choice(self.events).id)}
        answer = await client.post(
            f"{url}/api/v1/bookings", json=body, headers=headers | {"Idempotency-Key": uuid4().hex}
        )
        if not await self._took(answer, 202):
            return
        booking = UUID(answer.json()["id"])
        self.booked.add(booking)
        self.sold_at[url] += 1
        await self._took(await client.get(f"{url}/api/v1/bookings/{booking}/status", headers=headers), 200)
        if random.random() < CANCELLED_SHARE:
            self.regretted.add(booking)
            answer = await client.delete(f"{url}/api/v1/bookings/{booking}", headers=headers)
            if await self._took(answer, 200):
                self.cancelled.add(booking)

    async def _took(self, answer: httpx.Response, expected: int) -> bool:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 503:
            self.refused_s.append(time.monotonic())
            await asyncio.sleep(float(answer.headers["Retry-After"]))
        elif answer.status_code != expected:
            self.odd.append(f"{answer.request.method} {answer.status_code} {answer.text}")
        return answer.status_code == expected


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
    rows = await statuses(stores)
    assert crowd.booked <= rows.keys()
    assert {rows[booking] for booking in crowd.booked - crowd.regretted} == {"confirmed"}
    assert {rows[booking] for booking in crowd.cancelled} <= {"cancelled"}
    pools = [await pool(stores, event) for event in crowd.events]
    assert sum(taken for _, taken in pools) == sum(status == "confirmed" for status in rows.values())
    found = await differences(stores)
    assert found == [], found


async def nothing_waits(stores: Stores) -> bool:
    """Whether everything accepted is in PostgreSQL, and no rebuild is under way that still has counters to write.

    This process learns the epoch by asking.
    """
    try:
        if await stores.scripts.look() is not InventoryState.IN_ORDER:
            return False
        pulses = await stores.unpersisted.pulses()
    except Unavailable:
        return False
    return not any(pulse.unpersisted_count for pulse in pulses)


async def statuses(stores: Stores) -> dict[UUID, str]:
    async with stores.engine.connect() as connection:
        found = await connection.execute(text("SELECT id, status FROM bookings"))
        return {row.id: row.status for row in found}
