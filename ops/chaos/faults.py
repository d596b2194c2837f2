"""Carries out a schedule on a stack."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING

from ops.chaos.schedule import REDIS_LOSSES, FaultKind, ScheduledFault
from ops.chaos.stack.processes import STOP_SECONDS_MAX
from ops.chaos.stack.proxy import Proxy
from ops.chaos.stack.servers import kill, start, stopped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from ops.chaos.stack.stack import TrialStack
    from ops.embedded.server import EmbeddedServer

SLOW_SECONDS = 0.15
"""The delay of each message on a slow link, each way."""

CLOCK_STEP_SECONDS = 600

DISK_FULL_SECONDS_MAX = 5.0
"""The longest wait for a write that a full disk refuses."""

LOOK_SECONDS = 0.01

REDIS_GONE = REDIS_LOSSES | {FaultKind.REDIS_KILL, FaultKind.REDIS_FULL_DISK}
"""Faults after which there is a moment at which Redis is back."""


class Storm:
    """The faults of one trial. Faults of one target wait for each other; others overlap."""

    def __init__(self, stack: TrialStack) -> None:
        self._stack = stack
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.done: Counter[FaultKind] = Counter()
        self.back_s: list[float] = []
        """When Redis was back after each time it was gone or empty, on the monotonic clock."""

    async def rage(self, faults: Sequence[ScheduledFault]) -> None:
        """Let each fault happen at its second, and return when the last one is over.

        Raises:
            ServerFailed: a server did not come back.
        """
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, began_s + fault.at_s - loop.time()))
                group.create_task(self.strike(fault))

    async def strike(self, fault: ScheduledFault) -> None:
        """Carry out one fault, from beginning to end; it is counted if it hit something."""
        async with self._busy[fault.target]:
            began = datetime.now(UTC)
            async with BLOCKS[fault.kind](self._stack, fault.target) as hit:
                await asyncio.sleep(fault.lasts_s if hit else 0.0)
            if fault.kind in REDIS_GONE:
                self.back_s.append(time.monotonic())
            if hit:
                self.done[fault.kind] += 1
                with (self._stack.folder / "storm.log").open("a") as log:
                    log.write(f"{began:%T.%f} {datetime.now(UTC):%T.%f} {fault.target:<18} {fault.kind}\n")

    def calm(self) -> None:
        """Mend the network and the clocks; servers and processes are back when their faults are over."""
        for link in self._stack.links.values():
            link.heal()
        for clock in self._stack.clocks.values():
            clock.set(0)


@asynccontextmanager
async def _signalled(
    stack: TrialStack, name: str, number: signal.Signals, *, then: signal.Signals | None = None
) -> AsyncIterator[bool]:
    process = stack.processes[name]
    hit = process.alive
    process.signal(number)
    yield hit
    if then:
        process.signal(then)


@asynccontextmanager
async def _told_to_end(stack: TrialStack, name: str) -> AsyncIterator[bool]:
    """A process is told to end, and killed if that takes too long."""
    process = stack.processes[name]
    if not process.alive:
        yield False
        return
    births = process.births
    stack.fork_server.forgive(name)
    process.signal(signal.SIGTERM)
    if not await _eventually(lambda: process.births > births, seconds_max=STOP_SECONDS_MAX):
        process.overdue += 1
        process.signal(signal.SIGKILL)
    yield True


@asynccontextmanager
async def _clock_set(stack: TrialStack, name: str, seconds: int) -> AsyncIterator[bool]:
    clock = stack.clocks.get(name)
    if clock is None:
        yield False
        return
    clock.set(seconds)
    yield True
    clock.set(0)


@asynccontextmanager
async def _away(
    server: EmbeddedServer, *, end: Callable[[], Awaitable[None]] | None = None, then: Callable[[], None] | None = None
) -> AsyncIterator[bool]:
    """A server is gone during the block; `then` happens to its files before it starts again."""
    await (end() if end else kill(server))
    yield True
    if then:
        then()
    await start(server)


@asynccontextmanager
async def _disk_full(stack: TrialStack) -> AsyncIterator[bool]:
    """Redis ends at the next write, and starts again on a disk with room."""
    server = stack.valkey.server
    stack.valkey.fill_disk()
    await _eventually(lambda: server.poll() is not None, seconds_max=DISK_FULL_SECONDS_MAX)
    async with _away(server):
        yield True


@asynccontextmanager
async def _wiped(stack: TrialStack) -> AsyncIterator[bool]:
    await stack.valkey.wipe()
    yield True


@asynccontextmanager
async def _crowded(stack: TrialStack) -> AsyncIterator[bool]:
    """PostgreSQL has no connection left, and everybody has to connect anew."""
    for name, link in stack.links.items():
        if name.endswith(":postgres"):
            link.cut()
    async with stack.postgres.crowded() as full:
        yield full


@asynccontextmanager
async def _link(
    stack: TrialStack, name: str, begin: Callable[[Proxy], int | None], end: Callable[[Proxy], object] | None = None
) -> AsyncIterator[bool]:
    """A link misbehaves during the block. `begin` returns how many connections it hit, None if it needs none."""
    link = stack.links[name]
    yield begin(link) != 0
    if end:
        end(link)


def _slow(link: Proxy, seconds: float = SLOW_SECONDS) -> None:
    link.delay_s = seconds


async def _eventually(condition: Callable[[], bool], *, seconds_max: float) -> bool:
    for _ in range(round(seconds_max / LOOK_SECONDS)):
        if condition():
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return False


_kill = partial(_signalled, number=signal.SIGKILL)
_stop = partial(_signalled, number=signal.SIGSTOP, then=signal.SIGCONT)

BLOCKS: dict[FaultKind, Callable[[TrialStack, str], AbstractAsyncContextManager[bool]]] = {
    FaultKind.API_KILL: _kill,
    FaultKind.API_STOP: _stop,
    FaultKind.API_TERM: _told_to_end,
    FaultKind.WORKER_KILL: _kill,
    FaultKind.WORKER_STOP: _stop,
    FaultKind.WORKER_TERM: _told_to_end,
    FaultKind.REDIS_KILL: lambda stack, _: _away(stack.valkey.server),
    FaultKind.REDIS_STOP: lambda stack, _: stopped(stack.valkey.server),
    FaultKind.REDIS_FULL_MEMORY: lambda stack, _: stack.valkey.full(),
    FaultKind.REDIS_FULL_DISK: lambda stack, _: _disk_full(stack),
    FaultKind.REDIS_WIPE: lambda stack, _: _wiped(stack),
    FaultKind.REDIS_EMPTY: lambda stack, _: _away(stack.valkey.server, then=stack.valkey.empty),
    FaultKind.REDIS_STALE: lambda stack, _: _away(stack.valkey.server, then=stack.valkey.go_back),
    FaultKind.POSTGRES_KILL: lambda stack, _: _away(stack.postgres.server),
    FaultKind.POSTGRES_QUIT: lambda stack, _: _away(stack.postgres.server, end=stack.postgres.quit),
    FaultKind.POSTGRES_STOP: lambda stack, _: stopped(stack.postgres.server),
    FaultKind.POSTGRES_CROWDED: lambda stack, _: _crowded(stack),
    FaultKind.CLOCK_BACK: partial(_clock_set, seconds=-CLOCK_STEP_SECONDS),
    FaultKind.CLOCK_FORWARD: partial(_clock_set, seconds=CLOCK_STEP_SECONDS),
    FaultKind.LINK_CUT: partial(_link, begin=Proxy.cut),
    FaultKind.LINK_REFUSED: partial(_link, begin=Proxy.refuse, end=Proxy.accept),
    FaultKind.LINK_STALLED: partial(_link, begin=Proxy.stall, end=Proxy.resume),
    FaultKind.LINK_SLOW: partial(_link, begin=_slow, end=partial(_slow, seconds=0.0)),
    FaultKind.LINK_HALF_OPEN: partial(_link, begin=Proxy.silence),
    FaultKind.LINK_ANSWERS_LOST: partial(_link, begin=Proxy.lose_answers, end=Proxy.cut),
}
"""Each kind of fault as a block during which it lasts, with whether it hit something."""
