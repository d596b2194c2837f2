"""The bench from the command line: `python -m loadtests.bench`."""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from loadtests.bench.cases import Bench
from loadtests.bench.crowd import Crowd
from loadtests.bench.generator import Unexpected, generator
from loadtests.bench.machine import Cores
from loadtests.bench.report import cases_table, cpu_table, rows_of
from loadtests.bench.stack import Stack

if TYPE_CHECKING:
    from argparse import Namespace

    from loadtests.bench.cases import Measured

ROUNDS_DEFAULT = 5
SECONDS_DEFAULT = 3
CONNECTIONS_DEFAULT = 64

BUYERS_PER_SECOND = 5_000
"""Buyers there are for each second of a case: more than are served in it."""

EXIT_FAILED = 2


def main() -> None:
    """Run; exits with 2 when something was not answered as it should be."""
    options = _options()
    try:
        _run(options)
    except Unexpected as error:
        _say(f"{type(error).__name__}: {error}")
        sys.exit(EXIT_FAILED)


def _options() -> Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench", description=__doc__)
    option = parser.add_argument
    option("--only", default="", help="letters of the cases to measure, with commas between")
    option("--rounds", type=int, default=ROUNDS_DEFAULT, help="how often each case is measured")
    option("--seconds", type=int, default=SECONDS_DEFAULT, help="how long each case is measured in a round")
    option("--connections", type=int, default=CONNECTIONS_DEFAULT, help="of the generator")
    return parser.parse_args()


def _run(options: Namespace) -> None:
    load = generator(connections=options.connections)
    letters = {letter.strip() for letter in options.only.split(",") if letter.strip()}
    with tempfile.TemporaryDirectory(prefix="onsale-bench-") as folder:
        _say("starting PostgreSQL, Valkey, API and worker")
        with Stack(Path(folder), cores=Cores.of_this_machine()) as stack:
            size = options.seconds * BUYERS_PER_SECOND
            _say(f"making {size} buyers")
            crowd = Crowd(stack, size=size)
            bench = Bench(stack, crowd, load, seconds=options.seconds)
            cases = [case for case in bench.cases() if not letters or case.letter in letters]
            gc.collect()
            gc.freeze()
            rounds: dict[str, list[Measured]] = {case.name: [] for case in cases}
            for number in range(1, options.rounds + 1):
                for case in cases:
                    measured = bench.measure(case)
                    rounds[case.name].append(measured)
                    _say(
                        f"round {number}/{options.rounds} ({case.letter}) {case.title}: {measured.per_second:,.0f}/s,"
                        f" p99 {measured.p99_ms:.1f} ms"
                    )
            rows = rows_of(cases, rounds)
            _say(f"\n{cases_table(rows)}\n\n{cpu_table(rows)}")


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
