"""Profiles the API during one case with py-spy: `python -m loadtests.bench.cases.hot book`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from loadtests.bench.cases.cases import OwnBench
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.stack import BenchStack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from loadtests.bench.cases.cases import Case
    from loadtests.bench.report.results import Figures

CASES = ("book", "sold_out", "poll_pending", "poll_final", "events", "event")

SECONDS = 4
BUYERS_PER_SECOND = 9_000
CONNECTIONS = 64

SAMPLES_PER_SECOND = 400
"""Py-spy stops the process for each sample: this rate leaves it most of its time."""

SHOWN = 30


class CpuProfile(Struct, frozen=True):
    """Shares of all samples by function: `own` while it ran itself, `within` while it or a function it called ran."""

    samples: int
    own: dict[str, float]
    within: dict[str, float]

    @classmethod
    def of(cls, stacks: Iterable[str]) -> CpuProfile:
        """Read the output of py-spy: a line for each stack, `function (file:line);… samples`."""
        own: Counter[str] = Counter()
        within: Counter[str] = Counter()
        for line in stacks:
            frames, _, count = line.rpartition(" ")
            names = [_without_line(frame) for frame in frames.split(";")]
            own[names[-1]] += int(count)
            for name in set(names):
                within[name] += int(count)
        total = own.total() or 1
        shares = ({name: count / total for name, count in found.most_common()} for found in (own, within))
        return cls(own.total(), *shares)

    def table(self) -> str:
        """The functions with the largest own share, as a table."""
        rows = [
            f"| `{name}` | {share:.1%} | {self.within[name]:.1%} |" for name, share in list(self.own.items())[:SHOWN]
        ]
        return "\n".join(["| function | itself | with what it calls |", "|---|---|---|", *rows])


def main() -> None:
    """Measure one case once, and once more under the profiler."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.bench.cases.hot", description=__doc__)
    parser.add_argument("case", choices=CASES)
    name = parser.parse_args().case
    with tempfile.TemporaryDirectory(prefix="onsale-hot-") as folder:
        measured, profile = _look(name, Path(folder))
    rate, cpu_ms = measured["per_second"], measured["cpu_ms.program"]
    print(f"{rate:,.0f}/s, {cpu_ms:.3f} ms CPU each, {profile.samples} samples\n")
    print(profile.table())


def _look(name: str, folder: Path) -> tuple[Figures, CpuProfile]:
    with BenchStack(folder) as stack:
        crowd = SignedInBuyers(stack, size=SECONDS * BUYERS_PER_SECOND)
        bench = OwnBench(stack, crowd, seconds=SECONDS, connections=CONNECTIONS)
        cases = {case.name: case for case in bench.own_cases()}
        if name == "poll_final":
            # It polls the bookings of poll_pending.
            bench.measure(cases["poll_pending"])
        measured = bench.measure(cases[name])
        return measured, _watched(bench, cases[name], folder / "stacks")


def _watched(bench: OwnBench, case: Case, stacks: Path) -> CpuProfile:
    spy = Path(sys.executable).with_name("py-spy")
    command = [str(spy), "record", "--pid", str(case.program.pid), "--duration", str(SECONDS)]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--format", "raw", "--output", str(stacks)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as watching:
        bench.measure(case)
        _, said = watching.communicate()
    if watching.returncode:
        sys.exit(f"py-spy failed: {said.strip()}")
    return CpuProfile.of(stacks.read_text().splitlines())


def _without_line(frame: str) -> str:
    """`function (file)` of `function (file:line)`."""
    name, _, line = frame.rpartition(":")
    return f"{name})" if line.rstrip(")").isdecimal() else frame


if __name__ == "__main__":
    main()
