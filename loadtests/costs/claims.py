"""What claims cost: orders with more than the tickets of an event, in turns with orders that claim only those.

All claim their account's own counter too. The engine runs in this process: it reserves a backlog, then persists it.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from msgspec import Struct

from domain.accounts.accounts import Role
from domain.background.persisting import persist_once
from domain.background.rebuilding import rebuild
from domain.engine import Stores, open_stores
from domain.kernel.claims import SINGLE, SINGLE_SIZE, Claim
from domain.kernel.partitions import partition_of_event
from domain.platform.settings import Settings
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from loadtests.bench.stack import cpu_seconds
from migrations.upgrade import migrate
from ops.embedded.stack import EmbeddedStack
from ops.evidence.bulk import event_on_sale, mint, write_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.sales.events import Terms

ROUNDS_DEFAULT = 10
BACKLOG_DEFAULT = 2_000
"""Bookings of a turn: made within the five seconds that an unpersisted booking may be old."""

AT_ONCE = 64
"""Orders that share a round trip to Redis, as on a busy API process."""

BUYERS = 2_000
CAPACITY = 1_000_000

FURTHER = ("pool:second", "pool:third")

TAKEN_PAIRS = tuple((f"{SINGLE}{row}-1", f"{SINGLE}{row}-2") for row in "ABCDEFG")
"""Seven pairs of neighbours that cannot be had. Orders of the best of eight pairs get another one."""

NUMBERS = itertools.count(1)
"""The numbers of seats that nobody has yet."""

HOLD_MS = 3_600_000


class ThreeCounters(TicketOrder, frozen=True, gc=False):
    """An order that claims two further counters of its event."""

    def alternatives(self, terms: Terms, *, account_id: UUID) -> tuple[tuple[Claim, ...], ...]:
        """The claims of a plain order, and the further ones."""
        (plain,) = super().alternatives(terms, account_id=account_id)
        return ((*plain, *(Claim(counter, self.quantity, terms.sizes[counter]) for counter in FURTHER)),)


class HeldOrder(TicketOrder, frozen=True, gc=False):
    """A plain order that is held until it is confirmed."""

    hold_ms: int = HOLD_MS


class TwoSeats(TicketOrder, frozen=True, gc=False):
    """An order of two numbered seats that are free."""

    def alternatives(self, terms: Terms, *, account_id: UUID) -> tuple[tuple[Claim, ...], ...]:
        """The claims of a plain order, and two seats."""
        (plain,) = super().alternatives(terms, account_id=account_id)
        return ((*plain, *_free_pair()),)


class BestPair(TicketOrder, frozen=True, gc=False):
    """An order of two neighbours, the best of eight pairs that is free."""

    def alternatives(self, terms: Terms, *, account_id: UUID) -> tuple[tuple[Claim, ...], ...]:
        """The claims of a plain order, with each of the pairs."""
        (plain,) = super().alternatives(terms, account_id=account_id)
        taken = ((*plain, *(Claim(seat, 1, 0) for seat in pair)) for pair in TAKEN_PAIRS)
        return (*taken, (*plain, *_free_pair()))


def _free_pair() -> tuple[Claim, Claim]:
    first, second = (Claim(f"{SINGLE}{next(NUMBERS)}", 1, SINGLE_SIZE) for _ in range(2))
    return first, second


ORDERS: dict[str, type[TicketOrder]] = {
    "one": TicketOrder,
    "three": ThreeCounters,
    "hold": HeldOrder,
    "two seats": TwoSeats,
    "best pair": BestPair,
}
"""The orders by name. The first is what the others are compared with."""

PLAIN = "one"


class OrderFigures(NamedTuple):
    """The figures of a turn: bookings in a second, and microseconds of processor time for one."""

    booked_per_second: float
    booked_cpu_us: float
    persisted_per_second: float
    persisted_cpu_us: float


class EventOnServers(Struct, frozen=True):
    """An event with three counters, its buyers, and the processes whose processor time counts."""

    stores: Stores
    event_id: UUID
    buyers: list[UUID]
    pids: list[int]

    def cpu_s(self) -> float:
        """Processor time of this process and the servers."""
        return time.process_time() + sum(cpu_seconds(pid) for pid in self.pids)


def main() -> None:
    """Run from the command line and print the medians and their ratios."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.claims", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS_DEFAULT, help="turns of each order")
    parser.add_argument("--backlog", type=int, default=BACKLOG_DEFAULT, help="bookings in a turn")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-claims-") as folder, EmbeddedStack(Path(folder)) as servers:
        migrate(servers.postgres.url())
        values = {name.lower(): value for name, value in servers.environment().items()}
        settings = Settings.model_validate(values)
        pids = [server.pid for server in servers.servers]
        found = asyncio.run(_measure(settings, pids, rounds=options.rounds, backlog=options.backlog))
    _print(found)


async def _measure(settings: Settings, pids: list[int], *, rounds: int, backlog: int) -> dict[str, list[OrderFigures]]:
    """Take turns; one turn of each comes before the first that counts."""
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    buyers = [buyer.id for buyer in await mint(settings, role=Role.ATTENDEE, count=BUYERS)]
    event_id = await _event(settings, organizer.id)
    found: dict[str, list[OrderFigures]] = {name: [] for name in ORDERS}
    async with open_stores(settings) as stores:
        await rebuild(stores)
        bench = EventOnServers(stores, event_id, buyers, pids)
        for turn in range(rounds + 1):
            for name in sorted(ORDERS, reverse=bool(turn % 2)):
                figures = await _turn(bench, ORDERS[name], backlog=backlog)
                if turn:
                    found[name].append(figures)
    return found


async def _event(settings: Settings, organizer_id: UUID) -> UUID:
    """An event with further counters; the next rebuild puts it on sale."""
    event = event_on_sale(organizer_id=organizer_id, title="Many counters", capacity=CAPACITY, max_per_user=100)
    await write_events(settings, [event], further=dict.fromkeys(FURTHER, CAPACITY))
    return event.id


async def _turn(bench: EventOnServers, order: type[TicketOrder], *, backlog: int) -> OrderFigures:
    """Reserve a backlog and persist it."""
    stores, partition = bench.stores, partition_of_event(bench.event_id)
    began_cpu_s, began_s = bench.cpu_s(), time.perf_counter()
    for first in range(0, backlog, AT_ONCE):
        asks = [Ask.trusted(bench.buyers[number % BUYERS]) for number in range(first, min(first + AT_ONCE, backlog))]
        await asyncio.gather(*(stores.box_office.reserve(ask, order(bench.event_id, 1)) for ask in asks))
    booked_cpu_s, booked_s = bench.cpu_s(), time.perf_counter()
    while (await persist_once(stores, partition)).left:
        pass
    persisted_cpu_s, persisted_s = bench.cpu_s(), time.perf_counter()
    return OrderFigures(
        booked_per_second=backlog / (booked_s - began_s),
        booked_cpu_us=(booked_cpu_s - began_cpu_s) * 1_000_000 / backlog,
        persisted_per_second=backlog / (persisted_s - booked_s),
        persisted_cpu_us=(persisted_cpu_s - booked_cpu_s) * 1_000_000 / backlog,
    )


def _print(found: dict[str, list[OrderFigures]]) -> None:
    """For each figure and order the median, and the median of the turns' ratios to a plain order with the quartiles."""
    print(f"{'':22}{'order':>10}{'median':>10}   to {PLAIN} (quartiles)")
    for field in OrderFigures._fields:
        plain = [getattr(figures, field) for figures in found[PLAIN]]
        for name, turns in found.items():
            values = [getattr(figures, field) for figures in turns]
            ratios = sorted(value / one for one, value in zip(plain, values, strict=True))
            low, high = _quantile(ratios, 0.25), _quantile(ratios, 0.75)
            print(f"{field:22}{name:>10}{median(values):10.0f}   {median(ratios):.2f} ({low:.2f} to {high:.2f})")


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
