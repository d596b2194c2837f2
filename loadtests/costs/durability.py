"""What `DURABILITY=postgres` costs: the same bookings in both modes, side by side, on a stack each."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import httpx
import uvloop
from msgspec import Struct, field

from domain.accounts.accounts import Role
from loadtests.bench.load.client import ask_for
from loadtests.bench.load.prepared import order
from loadtests.sales.figures import times_of
from loadtests.sales.stack import sale_stack
from ops.evidence.bulk import event_on_sale, mint, write_events

if TYPE_CHECKING:
    from domain.platform.settings import Settings

MODES = ("redis", "postgres")

ROUNDS_DEFAULT = 6
SECONDS_DEFAULT = 4.0
CONNECTIONS_DEFAULT = 32

WARM_UP_SECONDS = 1.0
"""Of each mode: connections are opened and terms read."""

PERSISTED_SECONDS_MAX = 60.0
"""Between two turns: the one before has its bookings persisted, or would slow the next one."""

LOOK_SECONDS = 0.2
WAITING = "onsale_unpersisted_bookings{"

BUYERS = 10_000
EVENTS = 16
CAPACITY = 1_000_000
ALLOWANCE = 100
"""Nothing sells out. Nobody comes to an event twice: for whoever does, PostgreSQL is asked for an earlier booking."""

ACCEPTED = 202


class ModeTurn(Struct, frozen=True):
    """Some seconds of one mode."""

    per_second: float
    p50_ms: float
    p99_ms: float


class DurabilityMode(Struct):
    """One mode: its stack, its crowd, and how its turns went."""

    mode: str
    url: str
    tokens: list[str]
    event_ids: list[UUID]
    turns: list[ModeTurn] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=count)

    def orders(self) -> Iterator[bytes]:
        """Bookings without end, each of another key, and none of an account and event that there was."""
        while True:
            number = next(self.numbers)
            token = self.tokens[number % len(self.tokens)]
            event_id = self.event_ids[(number + number // len(self.tokens)) % len(self.event_ids)]
            yield order(event_id, token=token, key=uuid4().hex)

    def take_turn(self, *, connections: int, seconds: float) -> ModeTurn:
        """Book for some seconds, over as many connections.

        Raises:
            SystemExit: a booking was not accepted.
        """
        began_s = time.perf_counter()
        replies = uvloop.run(ask_for(self.url, self.orders(), connections=connections, seconds=seconds))
        took_s = time.perf_counter() - began_s
        refused = {reply.status for reply in replies} - {ACCEPTED}
        if refused:
            sys.exit(f"DURABILITY={self.mode} answered {sorted(refused)}; nothing was measured")
        times = times_of([reply.took_s * 1000 for reply in replies])
        self._wait_until_persisted()
        return ModeTurn(len(replies) / took_s, times.p50_ms, times.p99_ms)

    def _wait_until_persisted(self) -> None:
        deadline_s = time.monotonic() + PERSISTED_SECONDS_MAX
        while time.monotonic() < deadline_s:
            lines = httpx.get(f"{self.url}/metrics").text.splitlines()
            if not sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(WAITING)):
                return
            time.sleep(LOOK_SECONDS)


def main() -> None:
    """Run from the command line and print a table."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.durability", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS_DEFAULT, help="turns of each mode")
    parser.add_argument("--seconds", type=float, default=SECONDS_DEFAULT, help="of each turn")
    parser.add_argument("--connections", type=int, default=CONNECTIONS_DEFAULT, help="requests under way at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-durability-") as folder, ExitStack() as stacks:
        sides = [_open(mode, Path(folder) / mode, stacks) for mode in MODES]
        for side in sides:
            side.take_turn(connections=options.connections, seconds=WARM_UP_SECONDS)
        for number in range(options.rounds):
            # Each goes first in every other round: what the machine does beside it hits both alike.
            for side in sides[:: 1 if number % 2 else -1]:
                side.turns.append(side.take_turn(connections=options.connections, seconds=options.seconds))
                print(f"round {number + 1}  {side.mode:<9}{side.turns[-1].per_second:8.0f}/s", flush=True)
        print("\n" + table(*sides))


def table(redis: DurabilityMode, postgres: DurabilityMode) -> str:
    """Medians over the rounds in Markdown, and the median of each round's ratio."""
    head = f"| | `DURABILITY={redis.mode}` | `DURABILITY={postgres.mode}` | ratio, each round's |"
    rows = [head, "|---|---:|---:|---:|"]
    for name, what in (("accepted per second", "per_second"), ("p50 ms", "p50_ms"), ("p99 ms", "p99_ms")):
        mine, theirs = ([getattr(turn, what) for turn in side.turns] for side in (redis, postgres))
        ratios = [second / first for first, second in zip(mine, theirs, strict=True)]
        figures = f"{statistics.median(mine):.1f} | {statistics.median(theirs):.1f}"
        ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        rows.append(f"| {name} | {figures} | {ratio} |")
    return "\n".join(rows)


def _open(mode: str, folder: Path, stacks: ExitStack) -> DurabilityMode:
    """A stack in one mode, with a crowd that is signed in and events that are on sale."""
    folder.mkdir()
    stack = sale_stack(folder, DURABILITY=mode)
    tokens, event_ids = stack.furnish(lambda settings: asyncio.run(_furnish(settings)))
    return DurabilityMode(mode, stacks.enter_context(stack).url, tokens, event_ids)


async def _furnish(settings: Settings) -> tuple[list[str], list[UUID]]:
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    buyers = await mint(settings, role=Role.ATTENDEE, count=BUYERS)
    events = [
        event_on_sale(organizer_id=organizer.id, title=f"Event {number}", capacity=CAPACITY, max_per_user=ALLOWANCE)
        for number in range(EVENTS)
    ]
    await write_events(settings, events)
    return [buyer.token for buyer in buyers], [event.id for event in events]


if __name__ == "__main__":
    main()
