"""One trial: a stack, its buyers, a storm of faults, and the verdict afterwards."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from msgspec import Struct, field

from domain.accounts.accounts import Role
from domain.platform.failpoints import Failpoint
from ops.chaos.buyers import Habits, TrialCrowd
from ops.chaos.faults import SLOW_SECONDS, Storm
from ops.chaos.holds.files import HoldsEvent, HoldsFiles, HoldsPlan, unanswered
from ops.chaos.holds.orders import GATES, HOLDS_MAX, LISTED
from ops.chaos.protections import Protection, without
from ops.chaos.schedule import CLOCK_STEPS, NO_LOSS, Mix, ScheduledFault, redis_is_lost, schedule
from ops.chaos.stack.stack import TrialStack
from ops.chaos.watch import Watch
from ops.evidence.answers import AnswerLog, first_acceptances
from ops.evidence.books import wait_until_final
from ops.evidence.bulk import event_on_sale, mint, write_events
from ops.evidence.checks import check
from ops.evidence.evidence import RunRecord, Scene, gather
from ops.evidence.servers import postgres_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path
    from typing import Any

    from domain.sales.events import Event
    from ops.evidence.answers import Answer
    from ops.evidence.bulk import Minted
    from ops.evidence.evidence import Evidence

FINAL_SECONDS_MAX = 5.0
"""The promise: so long after the faults every accepted booking is final."""

AWAITED_SECONDS_MAX = 30.0
"""The longest wait for that."""

LOOK_SECONDS = 0.05
PROGRESS_SECONDS = 5.0

QUESTIONS_MAX = 300
"""Bookings that the API is asked about at the end of a trial."""

CAPACITIES = (6, 25, 300, 300, *[50_000] * 6)
"""Of events that sell out at once, sometimes, and never. The last have the most bookings."""

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
    Failpoint.HOLD_CHANGED: 0.012,
    Failpoint.HOLDS_EXPIRED: 0.05,
    Failpoint.PAYMENT_STORED: 0.03,
    Failpoint.REFUND_SENT: 0.1,
    Failpoint.REBUILD_BEGUN: 0.25,
    Failpoint.REBUILD_REFILLING: 0.04,
    Failpoint.REBUILD_UNPUBLISHED: 0.25,
    Failpoint.SHUTTING_DOWN: 0.3,
}
"""The probability of a kill at each failpoint, higher at rarer points.

It makes about one kill in a second and a half, and reaches every point within twenty seeds.
"""


class TrialPlan(Struct, frozen=True, kw_only=True):
    """The parameters of a trial.

    `hold_buyers` place orders of any counters and of holds, which last `hold_ms`, at least and at most.
    `off` are protections that are taken away. With `excuses`, DURABILITY=redis may lose what a Redis acknowledged that
    then lost its memory. `slow_links` and `dead_links` are slow or dead until the storm is over. `scripted` faults
    replace those of the seed.
    """

    seed: int
    durability: str = "redis"
    seconds: float = 60.0
    buyers: int = 40
    hold_buyers: int = 12
    hold_ms: tuple[int, int] = (200, 3_000)
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
        """The faults in order of time."""
        if self.scripted:
            return list(self.scripted)
        return schedule(f"faults {self.seed}", self.mix, seconds=self.seconds, per_second=self.faults_per_second)

    @property
    def redis_is_lost(self) -> bool:
        """Whether acknowledged bookings may be lost without breaking a promise."""
        return self.excuses and self.durability == "redis" and redis_is_lost(self.faults)


class Result(Struct, frozen=True, kw_only=True):
    """The findings of a trial; `violations` by check, empty lists for kept promises."""

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
    expired: int = 0
    to_final_s: float | None
    to_sale_s: list[float]
    redis_was_lost: bool
    violations: dict[str, list[str]]

    @property
    def broken(self) -> list[str]:
        """The checks that found something."""
        return [name for name, found in self.violations.items() if found]


async def run_trial(plan: TrialPlan, folder: Path, say: Callable[[str], None]) -> Result:
    """Run a trial in `folder`; logs and answers are left there.

    Raises:
        NotReady, ServerFailed: there was nothing to try.
    """
    stack = TrialStack(folder, durability=plan.durability)
    async with stack.servers():
        trial = _Trial(plan, stack, say)
        await trial.prepare()
        async with stack.running():
            return await trial.run()


class _Trial:
    """The state that the steps of a trial share."""

    def __init__(self, plan: TrialPlan, stack: TrialStack, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._stack = stack
        self._say = say
        self._log = AnswerLog(stack.folder / "answers.jsonl")
        self._holds = HoldsFiles(stack.folder)
        self._storm = Storm(stack)
        self._events: list[Event] = []
        self._accounts: list[Minted] = []
        self._hold_accounts: list[Minted] = []
        self._began_s = 0.0

    async def prepare(self) -> None:
        """Write accounts and events, before the processes start."""
        settings = self._stack.settings()
        (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
        self._accounts = await mint(settings, role=Role.ATTENDEE, count=self._plan.buyers)
        self._hold_accounts = await mint(settings, role=Role.ATTENDEE, count=self._plan.hold_buyers)
        self._events = [
            event_on_sale(organizer_id=organizer.id, title=f"{capacity} tickets", capacity=capacity, max_per_user=most)
            for capacity, most in zip(CAPACITIES, ALLOWANCES, strict=True)
        ]
        await write_events(settings, self._events, further=LISTED)
        async with postgres_of(settings) as postgres:
            await postgres.executemany("UPDATE counters SET gate = $2 WHERE counter = $1", list(GATES.items()))
        if Protection.CAPACITY_CHECK in self._plan.off:
            connection = await self._stack.postgres.connect()
            await connection.execute("ALTER TABLE counters DROP CONSTRAINT ck_counters_taken")
            await connection.execute("ALTER TABLE seats DROP CONSTRAINT pk_seats")
            await connection.close()
        self._stack.arm(self._plan.failpoints, off=self._plan.off)

    async def run(self) -> Result:
        """Let buyers buy during the faults, wait until everything is final, and check."""
        crowd = TrialCrowd(
            self._stack.urls,
            events=self._events,
            log=self._log,
            habits=self._plan.habits,
            seed=f"crowd {self._plan.seed}",
        )
        watch = Watch(self._stack.settings(), [event.id for event in self._events])
        for name in self._plan.slow_links:
            self._stack.links[name].delay_s = SLOW_SECONDS
        for name in self._plan.dead_links:
            self._stack.links[name].refuse()
        self._began_s = time.monotonic()
        self._holds.begin(self._holds_plan())
        shopping = asyncio.create_task(crowd.shop(self._accounts))
        async with _beside(watch.look_on()):
            async with _beside(self._tell_progress(crowd)):
                await self._storm.rage(self._plan.faults)
                await asyncio.sleep(max(0.0, self._began_s + self._plan.seconds - time.monotonic()))
            crowd.leave()
            self._holds.leave()
            self._stack.disarm()
            self._storm.calm()
            final_s = await self._until_final(crowd)
            await shopping
            await self._until_holds_are_answered()
            await self._until_final(crowd, holds=True)
        self._log.close()
        return self._judge(await self._gather(watch, crowd, final_s))

    async def _until_final(self, crowd: TrialCrowd, *, holds: bool = False) -> float | None:
        """The seconds until everything accepted until now is final, None if that takes too long."""
        accepted = {} if self._plan.redis_is_lost else first_acceptances(self._answers(crowd))
        ids = [event.id for event in self._events]
        return await wait_until_final(
            self._stack.settings(), ids, accepted, seconds_max=AWAITED_SECONDS_MAX, holds=holds
        )

    def _holds_plan(self) -> HoldsPlan:
        return HoldsPlan(
            seed=f"holds {self._plan.seed}",
            accounts=[account.id for account in self._hold_accounts],
            events=[HoldsEvent(event.id, event.max_per_user) for event in self._events],
            hold_ms=self._plan.hold_ms,
        )

    async def _until_holds_are_answered(self) -> None:
        """Wait for the process of hold buyers. What it was not answered in time is counted as unanswered."""
        deadline_s = time.monotonic() + AWAITED_SECONDS_MAX
        while not self._holds.done and time.monotonic() < deadline_s:  # noqa: ASYNC110  (another process writes it)
            await asyncio.sleep(LOOK_SECONDS)

    def _answers(self, crowd: TrialCrowd) -> list[Answer]:
        """What both crowds were told until now."""
        return [*crowd.answers, *self._holds.answers()]

    async def _gather(self, watch: Watch, crowd: TrialCrowd, final_s: float | None) -> Evidence:
        answers = self._answers(crowd)
        record = RunRecord(
            answers=answers,
            final_s=final_s,
            final_s_max=self._plan.final_seconds_max,
            unanswered=crowd.unanswered + len(unanswered(self._holds.answers())),
            gave_up=self._stack.fork_server.gave_up,
            seen=watch.seen,
            account_sizes={"holds": HOLDS_MAX},
            gates=GATES,
            faults=True,
            redis_was_lost=self._plan.redis_is_lost,
            clocks_were_set=any(fault.kind in CLOCK_STEPS for fault in self._plan.faults),
        )
        scene = Scene(
            settings=self._stack.settings(),
            urls=self._stack.urls,
            event_ids=[event.id for event in self._events],
            tokens={account.id: account.token for account in [*self._accounts, *self._hold_accounts]},
            questions_max=QUESTIONS_MAX,
        )
        # The audit calls the scripts of the processes, whose texts lack the same lines.
        with without(*self._plan.off):
            return await gather(scene, record)

    def _judge(self, evidence: Evidence) -> Result:
        states = [evidence.status_of(booking) for booking in evidence.accepted]
        return Result(
            seed=self._plan.seed,
            durability=self._plan.durability,
            seconds=self._plan.seconds,
            faults={str(kind): count for kind, count in self._storm.done.items()},
            failpoints=self._stack.hits_by_failpoint(),
            requests=len(evidence.answers),
            accepted=len(evidence.accepted),
            confirmed=states.count("confirmed"),
            cancelled=states.count("cancelled"),
            rejected=states.count("rejected"),
            expired=states.count("expired"),
            repairs=len(evidence.repairs),
            overdue=sum(process.overdue for process in self._stack.processes.values()),
            to_final_s=evidence.final_s,
            to_sale_s=_to_sale(evidence.answers, self._storm.back_s),
            redis_was_lost=evidence.redis_was_lost,
            violations=check(evidence),
        )

    async def _tell_progress(self, crowd: TrialCrowd) -> None:
        while True:
            await asyncio.sleep(PROGRESS_SECONDS)
            passed_s = time.monotonic() - self._began_s
            accepted = sum(answer.accepted for answer in crowd.answers)
            self._say(
                f"  {passed_s:4.0f} s  {len(crowd.answers):6} requests  {accepted:6} accepted"
                f"  {self._storm.done.total():4} faults  {sum(self._stack.hits_by_failpoint().values()):4} self-kills"
            )


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Do endless work during the block; raises its error at the end of the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        # Clients of servers that are away sometimes swallow a cancellation.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=LOOK_SECONDS)
    if not task.cancelled():
        task.result()


def _to_sale(answers: Sequence[Answer], back_s: Sequence[float]) -> list[float]:
    """For each return of Redis, the seconds until a request sent after it was accepted."""
    sold = [answer for answer in answers if answer.accepted]
    waits = [[answer.answered_s - at_s for answer in sold if answer.sent_s >= at_s] for at_s in back_s]
    return [round(min(wait), 3) for wait in waits if wait]
