"""The bench runs from one command, and a wrong answer ends it."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

import msgspec
import pytest

from loadtests.bench.cases.cases import OwnBench
from loadtests.bench.cases.crowd import SignedInBuyers
from loadtests.bench.load.generator import Unexpected
from loadtests.bench.report.results import Results
from loadtests.bench.stack import BenchStack
from tests.processes import ROOT

EXIT_FAILED = 2


@pytest.mark.timeout(300)
def test_one_command_measures_every_case(tmp_path) -> None:
    bench = subprocess.run(
        [sys.executable, "-m", "loadtests.bench", "--quick", "--out", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )

    assert bench.returncode == 0, bench.stdout + bench.stderr
    found = msgspec.json.decode((tmp_path / "bench.json").read_bytes(), type=Results)
    assert {series.title[1] for series in found.cases.series.values()} == set("abcdefghz")
    assert all(value > 0 for series in found.cases.series.values() for value in series.values("per_second"))
    assert found.cases.values("drain", "bookings") == [500]
    assert found.cases.values("drain", "bare_per_second")[0] > 0
    assert found.cases.values("half", "confirm_p99_ms")[0] > 0
    assert found.cases.values("full", "backlog_max") == [max(left for _, left in found.backlog)]
    assert "POST /bookings, accepted" in bench.stdout
    assert (tmp_path / "bench-rates.svg").exists()


def test_a_run_that_cannot_be_had_is_no_figure() -> None:
    bench = subprocess.run(
        [sys.executable, "-m", "loadtests.bench", "--rounds", "0"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert bench.returncode == EXIT_FAILED
    assert "--rounds is 1 to" in bench.stdout


@pytest.mark.timeout(120)
def test_a_case_that_is_answered_wrongly_ends_the_bench(tmp_path) -> None:
    """Bookings are refused by the limit here, which is not what either case expects."""
    with BenchStack(tmp_path, settings={"LIMIT_BOOKING_CREATE": "1/min"}) as stack:
        bench = OwnBench(stack, SignedInBuyers(stack, size=40), seconds=1, connections=4, listed=1)
        cases = {case.name: case for case in bench.own_cases()}

        accepted = bench.measure(cases["book"])
        with pytest.raises(Unexpected, match="429"):
            bench.measure(cases["book"])

        rows = stack.fetch("SELECT count(*) FROM bookings WHERE user_id <> $1", uuid4())

    assert accepted["count"] == 40
    assert rows[0][0] == 40
