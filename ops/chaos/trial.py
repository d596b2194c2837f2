"""One trial: a stack, a crowd, a storm of faults, and what was found when it was over."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg
from msgspec import Struct, field
from redis.exceptions import RedisError

from domain.accounts.accounts import Role
from domain.platform.failpoints import Failpoint, Protection
from ops.chaos.answers import AnswerLog
from ops.chaos.buyers import Habits, TrialCrowd
from ops.chaos.checks import check
from ops.chaos.evidence import Evidence, Left, ask_api, read_books, read_drift, read_left, read_repairs
from ops.chaos.faults import SLOW_SECONDS, Storm
from ops.chaos.schedule import NO_LOSS, Mix, ScheduledFault, redis_is_lost, schedule
from ops.chaos.stack.stack import Stack
from ops.chaos.watch import ASYNCPG_ERRORS, Watch
from ops.evidence.bulk import event_on_sale, mint, write_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path
    from typing import Any
    from uuid import UUID

    from domain.sales.events import Event
    from ops.chaos.answers import Answer
    from ops.evidence.bulk import Minted

FINAL_SECONDS_MAX = 5.0
"""P7: how long after the faults every accepted booking is final."""

AWAITED_SECONDS_MAX = 30.0
"""How long that is waited for before the trial gives up on it."""

LOOK_SECONDS = 0.05
PROGRESS_SECONDS = 5.0
LOOK_SECONDS_MAX = 5.0
"""A server that has to be looked at answers within this, when no fault holds it."""

CAPACITIES = (6, 25, 300, 300, *[50_000] * 6)
"""Events that sell out at once, that sell out now and then, and that never do: those have the most bookings."""

ALLOWANCES = (100, 4, 4, 100, *[100] * 6)
"""`max_per_user` of each."""

FAILPOINTS: dict[Failpoint, float] = {
    Failpoint.RESERVED: 0.008,
    Failpoint.BEFORE_COMMIT: 0.01,
    Failpoint.AFTER_COMMIT: 0.01,
    Failpoint.AFTER_SETTLE: 0.01,
    Failpoint.CANCEL_FOUND: 0.012,
    Failpoint.CANCEL_RESTORED: 0.1,
    Failpoint.CANCEL_RELEASED: 0.012,
    Failpoint.REBUILD_BEGUN: 0.25,
    Failpoint.REBUILD_REFILLING: 0.04,
    Failpoint.REBUILD_UNPUBLISHED: 0.25,
    Failpoint.SHUTTING_DOWN: 0.3,
}
"""The rarer a point is come by, the likelier it kills: about one kill in a second and a half, and each point in each
run of twenty seeds."""


class TrialPlan(Struct, frozen=True, kw_only=True):
    """What a trial is of.

    `off` are protections taken away. `excuses` says that what DURABILITY=redis does not promise is not
    held against it: what was acknowledged by a Redis that then lost its memory. `slow_links` and
    `dead_links` are like that until the storm is over. `scripted` faults happen instead of drawn ones.
    """

    seed: int
    durability: str = "redis"
    seconds: float = 60.0
    buyers: int = 40
    mix: Mix = field(default_factory=lambda: dict(NO_LOSS))
    faults_per_second: float = 0.8
    failpoints: dict[Failpoint, float] = field(default_factory=lambda: dict(FAILPOINTS))
    habits: Habits = Habits()
    off: frozenset[Protection] = frozenset()
    final_seconds_max: float = FINAL_SECONDS_MAX
    excuses: bool = True
    slow_links: tuple[str, ...] = ()
    dead_links: tuple[str, ...] = ()
    scripted: tuple[ScheduledFault, ...] = ()

    @property
    def faults(self) -> list[ScheduledFault]:
        """What goes wrong when."""
        if self.scripted:
            return list(self.scripted)
        return schedule(f"faults {self.seed}", self.mix, seconds=self.seconds, per_second=self.faults_per_second)

    @property
    def redis_is_lost(self) -> bool:
        """Whether acknowledged bookings may be lost and nobody promised otherwise."""
        return self.excuses and self.durability == "redis" and redis_is_lost(self.faults)


class Result(Struct, frozen=True, kw_only=True):
    """What a trial found; `violations` by check, empty lists for promises kept."""

    seed: int
    durability: str
    seconds: float
    faults: dict[str, int]
    failpoints: dict[str, int]
    requests: int
    accepted: int
    confirmed: int
    cancelled: int
    rejected: int
    repairs: int
    overdue: int
    to_final_s: float | None
    to_sale_s: list[float]
    redis_was_lost: bool
    violations: dict[str, list[str]]

    @property
    def broken(self) -> list[str]:
        """The checks that found something."""
        return [name for name, found in self.violations.items() if found]


async def run_trial(plan: TrialPlan, folder: Path, say: Callable[[str], None]) -> Result:
    """Run it in `folder`, which is left as it is: with everybody's logs and the answers.

    Raises:
        NotReady, ServerFailed: there was nothing to try.
    """
    stack = Stack(folder, durability=plan.durability)
    async with stack.servers():
        trial = _Trial(plan, stack, say)
        await trial.prepare()
        async with stack.running():
            return await trial.run()


class _Trial:
    """The parts of a trial that its steps share."""

    def __init__(self, plan: TrialPlan, stack: Stack, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stack = stack
        self._say = say
        self._log = AnswerLog(stack.folder / "answers.jsonl")
        self._storm = Storm(stack)
        self._events: list[Event] = []
        self._accounts: list[Minted] = []
        self._began_s = 0.0

    async def prepare(self) -> None:
        """Accounts and events, before there are processes."""
        settings = self._stack.settings()
        (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
        self._accounts = await mint(settings, role=Role.ATTENDEE, count=self._plan.buyers)
        self._events = [
            event_on_sale(organizer_id=organizer.id, title=f"{capacity} places", capacity=capacity, max_per_user=most)
            for capacity, most in zip(CAPACITIES, ALLOWANCES, strict=True)
        ]
        await write_events(settings, self._events)
        if Protection.CAPACITY_CHECK in self._plan.off:
            connection = await self._stack.postgres.connect()
            await connection.execute("ALTER TABLE pools DROP CONSTRAINT ck_pools_taken")
            await connection.close()
        self._stack.arm(self._plan.failpoints, off=self._plan.off)

    async def run(self) -> Result:
        """The storm, the calm after it, and the verdict."""
        crowd = TrialCrowd(
            self._stack.urls,
            events=self._events,
            log=self._log,
            habits=self._plan.habits,
            seed=f"crowd {self._plan.seed}",
        )
        watch = Watch(self._stack, self._events)
        for name in self._plan.slow_links:
            self._stack.links[name].delay_s = SLOW_SECONDS
        for name in self._plan.dead_links:
            self._stack.links[name].refuse()
        self._began_s = time.monotonic()
        shopping = asyncio.create_task(crowd.shop(self._accounts))
        async with _beside(watch.look_on()):
            async with _beside(self._tell_progress()):
                await self._storm.rage(self._plan.faults)
                await self._wait_out()
            crowd.leave()
            to_final_s = await self._calm_down()
            await shopping
            await self._until_final(AWAITED_SECONDS_MAX)
        self._log.close()
        return self._judge(await self._gather(watch, crowd, to_final_s))

    async def _wait_out(self) -> None:
        await asyncio.sleep(max(0.0, self._began_s + self._plan.seconds - time.monotonic()))

    async def _calm_down(self) -> float | None:
        """End the failpoints and mend the network; answers how long until all was final."""
        self._stack.disarm()
        self._storm.calm()
        began_s = time.monotonic()
        if not await self._until_final(AWAITED_SECONDS_MAX):
            return None
        return round(time.monotonic() - began_s, 3)

    async def _until_final(self, seconds: float) -> bool:
        """Whether everything accepted until now is final within so long."""
        accepted = {answer.booking for answer in self._log.answers if answer.accepted}
        if self._plan.redis_is_lost:
            accepted = set()
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            with suppress(RedisError, asyncpg.PostgresError, *ASYNCPG_ERRORS, OSError, TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS_MAX):
                    left = await read_left(self._stack)
                if _nothing(left, accepted):
                    return True
            await asyncio.sleep(LOOK_SECONDS)
        return False

    async def _gather(self, watch: Watch, crowd: TrialCrowd, to_final_s: float | None) -> Evidence:
        left = await read_left(self._stack)
        settings = self._stack.settings(**_sabotage(self._plan.off))
        return Evidence(
            answers=self._log.answers,
            rows=left.rows,
            books=await read_books(self._stack, self._events, watch.sights),
            told=await ask_api(self._stack, self._accounts, {row.id: row for row in left.rows}),
            unpersisted=left.unpersisted,
            intents=left.intents,
            repairs=await read_repairs(self._stack),
            audit_drift=await read_drift(settings),
            unanswered=crowd.unanswered,
            gave_up=self._stack.nursery.gave_up,
            to_final_s=to_final_s,
            to_final_s_max=self._plan.final_seconds_max,
            redis_was_lost=self._plan.redis_is_lost,
        )

    def _judge(self, evidence: Evidence) -> Result:
        accepted, status = evidence.accepted, evidence.status
        states = [status[booking] for booking in accepted if booking in status]
        return Result(
            seed=self._plan.seed,
            durability=self._plan.durability,
            seconds=self._plan.seconds,
            faults={str(kind): count for kind, count in self._storm.done.items()},
            failpoints=self._stack.hits_by_failpoint(),
            requests=len(evidence.answers),
            accepted=len(accepted),
            confirmed=states.count("confirmed"),
            cancelled=states.count("cancelled"),
            rejected=states.count("rejected"),
            repairs=len(evidence.repairs),
            overdue=self._storm.overdue.total(),
            to_final_s=evidence.to_final_s,
            to_sale_s=_to_sale(self._log.answers, self._storm.back_s),
            redis_was_lost=evidence.redis_was_lost,
            violations=check(evidence),
        )

    async def _tell_progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            passed_s = time.monotonic() - self._began_s
            accepted = sum(answer.accepted for answer in self._log.answers)
            self._say(
                f"  {passed_s:4.0f} s  {len(self._log.answers):6} requests  {accepted:6} accepted"
                f"  {self._storm.done.total():4} faults  {sum(self._stack.hits_by_failpoint().values()):4} self-kills"
            )


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do something without end, as long as the block lasts; when it fails, the block's end says so."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        # Clients of servers that are away have been seen to swallow a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=LOOK_SECONDS)
    if not task.cancelled():
        task.result()


def _nothing(left: Left, accepted: set[UUID | None]) -> bool:
    """Whether nothing is left to do, and nothing accepted is missing."""
    return not left.unpersisted and not left.intents and accepted <= {row.id for row in left.rows}


def _sabotage(off: frozenset[Protection]) -> dict[str, object]:
    """Settings under which scripts have the names that the processes gave them."""
    return {"chaos": "on", "protections_off": off} if off else {}


def _to_sale(answers: Sequence[Answer], back_s: Sequence[float]) -> list[float]:
    """For each time Redis was back, the seconds until somebody who asked since then was sold something."""
    sold = [answer for answer in answers if answer.accepted]
    waits = [[answer.answered_s - at_s for answer in sold if answer.sent_s >= at_s] for at_s in back_s]
    return [round(min(wait), 3) for wait in waits if wait]
