"""Carrying out a schedule on a stack."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from ops.chaos.schedule import FaultKind, ScheduledFault
from ops.chaos.stack.processes import STOP_SECONDS_MAX
from ops.chaos.stack.servers import kill, start, stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops.chaos.stack.processes import Process
    from ops.chaos.stack.stack import Stack

SLOW_SECONDS = 0.15
"""By how much each message is late on a slow link, each way."""

CLOCK_STEPS_SECONDS = {FaultKind.CLOCK_BACK: -600, FaultKind.CLOCK_FORWARD: 600}

DISK_FULL_SECONDS_MAX = 5.0
"""How long a write may be in coming that a full disk refuses."""

LOOK_SECONDS = 0.01


class Storm:
    """The faults of one trial. Those of one target wait for each other; others overlap."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._busy: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.done: Counter[FaultKind] = Counter()
        self.back_s: list[float] = []
        """When Redis was back after each time it was gone or empty, on the monotonic clock."""
        self.overdue: Counter[str] = Counter()
        """How often a process did not end in time when it was told to, and had to be killed."""

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
        """One fault, from its beginning to its end; counted when it hit something."""
        async with self._busy[fault.target]:
            began = datetime.now(UTC)
            if await self._strike(fault):
                self.done[fault.kind] += 1
                self._note(f"{began:%H:%M:%S.%f} {datetime.now(UTC):%H:%M:%S.%f} {fault.target:<18} {fault.kind}")

    def calm(self) -> None:
        """Mend the network; servers and processes are back when their faults are over."""
        for link in self._stack.links.values():
            link.heal()
        for clock in self._stack.clocks.values():
            clock.set(0)

    def _note(self, line: str) -> None:
        """Say what was done from when to when, to whoever compares the logs afterwards."""
        with (self._stack.folder / "storm.log").open("a") as log:
            log.write(line + "\n")

    async def _strike(self, fault: ScheduledFault) -> bool:
        if ":" in fault.target:
            return await self._strike_link(fault)
        if fault.kind in CLOCK_STEPS_SECONDS:
            return await self._strike_clock(fault)
        if fault.target == "redis":
            return await self._strike_redis(fault)
        if fault.target == "postgres":
            return await self._strike_postgres(fault)
        return await self._strike_process(fault)

    async def _strike_clock(self, fault: ScheduledFault) -> bool:
        clock = self._stack.clocks.get(fault.target)
        if clock is None:
            return False
        clock.set(CLOCK_STEPS_SECONDS[fault.kind])
        await asyncio.sleep(fault.lasts_s)
        clock.set(0)
        return True

    async def _strike_process(self, fault: ScheduledFault) -> bool:
        process = self._stack.processes[fault.target]
        if not process.alive:
            return False
        match fault.kind:
            case FaultKind.API_KILL | FaultKind.WORKER_KILL:
                process.signal(signal.SIGKILL)
            case FaultKind.API_TERM | FaultKind.WORKER_TERM:
                await self._tell_to_end(process)
            case _:
                process.signal(signal.SIGSTOP)
                await asyncio.sleep(fault.lasts_s)
                process.signal(signal.SIGCONT)
        return True

    async def _tell_to_end(self, process: Process) -> None:
        births = process.births
        self._stack.nursery.forgive(process.name)
        process.signal(signal.SIGTERM)
        for _ in range(round(STOP_SECONDS_MAX / LOOK_SECONDS)):
            if process.births > births:
                return
            await asyncio.sleep(LOOK_SECONDS)
        self.overdue[process.name] += 1
        process.signal(signal.SIGKILL)

    async def _strike_redis(self, fault: ScheduledFault) -> bool:
        valkey = self._stack.valkey
        match fault.kind:
            case FaultKind.REDIS_STOP:
                async with stopped(valkey.server):
                    await asyncio.sleep(fault.lasts_s)
                return True
            case FaultKind.REDIS_FULL_MEMORY:
                async with valkey.full():
                    await asyncio.sleep(fault.lasts_s)
                return True
            case FaultKind.REDIS_WIPE:
                await valkey.wipe()
            case FaultKind.REDIS_FULL_DISK:
                valkey.fill_disk()
                await self._until_it_ends()
                await self._restart_redis(fault)
            case _:
                await self._restart_redis(fault)
        self.back_s.append(time.monotonic())
        return True

    async def _restart_redis(self, fault: ScheduledFault) -> None:
        valkey = self._stack.valkey
        await kill(valkey.server)
        await asyncio.sleep(fault.lasts_s)
        if fault.kind is FaultKind.REDIS_EMPTY:
            valkey.empty()
        elif fault.kind is FaultKind.REDIS_STALE:
            valkey.go_back()
        await start(valkey.server)

    async def _until_it_ends(self) -> None:
        for _ in range(round(DISK_FULL_SECONDS_MAX / LOOK_SECONDS)):
            if self._stack.valkey.server.poll() is not None:
                return
            await asyncio.sleep(LOOK_SECONDS)

    async def _strike_postgres(self, fault: ScheduledFault) -> bool:
        postgres = self._stack.postgres
        match fault.kind:
            case FaultKind.POSTGRES_STOP:
                async with stopped(postgres.server):
                    await asyncio.sleep(fault.lasts_s)
                return True
            case FaultKind.POSTGRES_CROWDED:
                for name, link in self._stack.links.items():
                    if name.endswith(":postgres"):
                        link.cut()
                async with postgres.crowded():
                    await asyncio.sleep(fault.lasts_s)
                return True
            case FaultKind.POSTGRES_QUIT:
                await postgres.quit()
            case _:
                await kill(postgres.server)
        await asyncio.sleep(fault.lasts_s)
        await start(postgres.server)
        return True

    async def _strike_link(self, fault: ScheduledFault) -> bool:
        link = self._stack.links[fault.target]
        match fault.kind:
            case FaultKind.LINK_CUT:
                return link.cut() > 0
            case FaultKind.LINK_HALF_OPEN:
                return link.silence() > 0
            case FaultKind.LINK_REFUSED:
                link.refuse()
                await asyncio.sleep(fault.lasts_s)
                link.accept()
            case FaultKind.LINK_STALLED:
                link.stall()
                await asyncio.sleep(fault.lasts_s)
                link.resume()
            case FaultKind.LINK_SLOW:
                link.delay_s = SLOW_SECONDS
                await asyncio.sleep(fault.lasts_s)
                link.delay_s = 0.0
            case _:
                hit = link.lose_answers() > 0
                await asyncio.sleep(fault.lasts_s)
                link.cut()
                return hit
        return True
