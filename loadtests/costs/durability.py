"""What `DURABILITY=postgres` costs: the same bookings in both modes, in turns on a stack each."""

from __future__ import annotations

import argparse
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from loadtests.bench.cases.cases import Case, OwnBench
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.load.requests import order
from loadtests.bench.report.results import OTHER, THIS, Measurements
from loadtests.bench.report.tables import measurement_tables
from loadtests.bench.stack import BenchStack
from loadtests.bench.turns import Side, case_measurements, take_turns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MODES = {THIS: "postgres", OTHER: "redis"}

ROUNDS_DEFAULT = 6
SECONDS_DEFAULT = 4
CONNECTIONS_DEFAULT = 32

BUYERS = 10_000
EVENTS = 16
BOOKINGS_OF_ONE = 4
"""Bookings prepared for each buyer, more than are accepted in a turn.

No buyer books an event twice: PostgreSQL would be asked for the earlier booking.
"""


def main() -> None:
    """Run from the command line and print tables of `postgres`, `redis` and their ratio."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.durability", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS_DEFAULT, help="turns of each mode")
    parser.add_argument("--seconds", type=int, default=SECONDS_DEFAULT, help="of each turn")
    parser.add_argument("--connections", type=int, default=CONNECTIONS_DEFAULT, help="of the generator")
    options = parser.parse_args()
    found = Measurements(labels=MODES)
    with tempfile.TemporaryDirectory(prefix="onsale-durability-") as folder, ExitStack() as stacks:
        sides = {}
        for name, mode in MODES.items():
            print(f"starting DURABILITY={mode}")
            (Path(folder) / mode).mkdir()
            settings = {"DURABILITY": mode, "RATE_LIMITS": "off"}
            stack = stacks.enter_context(BenchStack(Path(folder) / mode, settings=settings))
            sides[name] = _side(stack, seconds=options.seconds, connections=options.connections)
            stack.pause()
        take_turns(found, sides, rounds=options.rounds, say=print)
    print("\nthis: DURABILITY=postgres; other: DURABILITY=redis\n")
    print("\n\n".join(measurement_tables(found)))


def _side(stack: BenchStack, *, seconds: int, connections: int) -> Side:
    crowd = SignedInBuyers(stack, size=BUYERS)
    bench = OwnBench(stack, crowd, seconds=seconds, connections=connections)

    def prepare() -> list[bytes]:
        events = [crowd.event() for _ in range(EVENTS)]
        return list(orders(events, [buyer.token for buyer in crowd.buyers]))

    case = Case("book", "bookings", 202, stack.api, prepare, afterwards=lambda _: stack.wait_until_drained())
    return Side(stack, bench, case_measurements(bench, [case]))


def orders(event_ids: Sequence[UUID], tokens: Sequence[str]) -> Iterator[bytes]:
    """Bookings dealt out over the events, each with a key of its own, and none of one buyer and event twice."""
    for turn in range(min(BOOKINGS_OF_ONE, len(event_ids))):
        for number, token in enumerate(tokens):
            yield order(event_ids[(number + turn) % len(event_ids)], token=token, key=uuid4().hex)


if __name__ == "__main__":
    main()
