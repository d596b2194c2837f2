"""The clocks of Redis, PostgreSQL and this host: regular comparisons.

No decision depends on them here. Fails open: the clock of a server that does not answer is None.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import TYPE_CHECKING

import structlog
from msgspec import Struct
from sqlalchemy import text

from domain.kernel.refusals import Unavailable
from domain.platform.clocks import OK, ClockComparison, HostClock, Moment, apart_ms, describe_step, step_ms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from domain.store.postgres.database import Database
    from domain.store.redis.inventory import Inventory

log = structlog.get_logger()

LOOK_S_MAX = 2.0
"""The same as for readiness: a load balancer asks again soon."""

STEP_TOLD_S = 600
"""How long readiness reports a step, so that a monitor sees it several times."""

REDIS, POSTGRESQL, HOST = "Redis'", "PostgreSQL's", "this host's"

_NOW = text("SELECT extract(epoch FROM clock_timestamp()) * 1000")


class Step(Struct, frozen=True):
    """A clock that was set: by how much, and when this was noticed on this process' monotonic clock."""

    clock: str
    by_ms: int
    noticed_s: float


class Clocks:
    """Compares clocks, and detects steps between two comparisons of this process."""

    def __init__(self, inventory: Inventory, database: Database) -> None:
        self._inventory = inventory
        self._database = database
        self._seen: dict[str, Moment] = {}
        self.host = HostClock()
        self._last: Step | None = None
        self.steps: Counter[tuple[str, str]] = Counter()
        """How often each clock was set, by its name and `back` or `forward`."""

    async def compare_once(self) -> ClockComparison:
        """Read every clock once. Servers that do not answer within LOOK_S_MAX are left out."""
        try:
            return await asyncio.wait_for(self._compare_all(), LOOK_S_MAX)
        except TimeoutError:
            return ClockComparison(None, None)

    async def _compare_all(self) -> ClockComparison:
        self._notice(HOST, Moment(round(time.time() * 1000), time.monotonic(), time.monotonic()))
        return ClockComparison(
            redis_ms=await self._compare(REDIS, self._inventory.now_ms),
            postgresql_ms=await self._compare(POSTGRESQL, self._postgresql_ms),
        )

    def describe(self, compared: ClockComparison) -> str:
        """The present fault of the clocks, and the last step for a while; `ok` when there is neither."""
        step = self._last
        if step is None or time.monotonic() - step.noticed_s > STEP_TOLD_S:
            return compared.describe()
        ago_s = time.monotonic() - step.noticed_s
        lately = f"{step.clock} clock was {describe_step(step.by_ms)}, noticed {ago_s:.0f} s ago"
        return lately if compared.describe() == OK else f"{compared.describe()}; {lately}"

    async def _compare(self, clock: str, read_ms: Callable[[], Awaitable[int]]) -> int | None:
        before_ms, sent_s = time.time() * 1000, time.monotonic()
        try:
            at_ms = await read_ms()
        except Unavailable:
            return None
        self._notice(clock, Moment(at_ms, sent_s, time.monotonic()))
        ahead_ms = apart_ms(at_ms, before_ms=before_ms, after_ms=time.time() * 1000)
        self.host.learn(ahead_ms)
        return ahead_ms

    async def _postgresql_ms(self) -> int:
        async with self._database.connect() as connection:
            return int((await connection.execute(_NOW)).scalar_one())

    def _notice(self, clock: str, moment: Moment) -> None:
        earlier, self._seen[clock] = self._seen.get(clock, moment), moment
        if by_ms := step_ms(earlier, moment):
            self._last = Step(clock, by_ms, time.monotonic())
            self.steps[clock, "forward" if by_ms > 0 else "back"] += 1
            log.error("clock_stepped", clock=clock, by_ms=by_ms)
