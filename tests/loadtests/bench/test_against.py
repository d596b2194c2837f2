"""The bench measures two builds in turns, and reports ratios."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from loadtests.bench.against.build import RevisionRefused, revision
from loadtests.bench.report.bars import bars_of
from loadtests.bench.report.results import OTHER, THIS, Results
from loadtests.bench.report.tables import report
from tests.loadtests.bench.results import half, measured, results
from tests.processes import ROOT

EXIT_FAILED = 2


def comparison() -> Results:
    found = results()
    found.cases.labels = {THIS: "working tree", OTHER: "v1"}
    for side, rates, post_p99_ms in ((THIS, (3_000.0, 500.0), 10.0), (OTHER, (2_000.0, 1_000.0), 20.0)):
        for per_second in rates:
            found.cases.add("book", "(b) bookings", measured(per_second), side=side)
        found.cases.add("half", "(h) half load", half(post_p99_ms=post_p99_ms), side=side)
    return found


def lines_of(text: str, title: str) -> list[list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [line for line in cells if line[0].startswith(title)]


def test_a_ratio_is_the_median_of_those_within_each_round() -> None:
    (rates, *_), figures = lines_of(report(comparison()), "(b)"), lines_of(report(comparison()), "POST p99")

    assert rates[1:6] == ["1,750", "1,500", "1.00", "0.50", "1.50"]
    assert figures == [["POST p99", "10.0", "20.0", "0.50", "0.50", "0.50"]]


def test_all_parts_of_a_request_are_added_up_and_the_generator_is_left_out() -> None:
    found = comparison()
    for each in (*found.cases.series["book"].sides[THIS], *found.cases.series["book"].sides[OTHER]):
        each["cpu_ms.generator"] = 9.0

    (whole,) = lines_of(report(found), "(b) bookings: all parts")

    assert whole[1:] == ["0.3000", "0.3000", "1.00", "1.00", "1.00"]


def test_a_case_that_was_begun_is_gone_on_with() -> None:
    found = comparison()

    found.cases.add("book", "(b) bookings", measured(1.0), side=OTHER)

    assert [len(found.cases.values("book", "per_second", side)) for side in (THIS, OTHER)] == [2, 3]


def test_a_comparison_is_held_against_no_bar() -> None:
    assert bars_of(comparison()) == []


def test_a_revision_that_git_does_not_know_is_refused() -> None:
    with pytest.raises(RevisionRefused, match="no revision no-such-thing"):
        revision("no-such-thing")


def test_a_word_that_git_would_take_for_an_option_is_no_revision() -> None:
    with pytest.raises(RevisionRefused):
        revision("--help")


@pytest.mark.timeout(400)
def test_one_command_measures_two_builds_in_turns(tmp_path) -> None:
    # CPU times are counted in hundredths of a second: in a whole one, every part uses some even on a busy machine.
    arguments = ["--against", "HEAD", "--only", "b,h,m", "--seconds", "1", "--out", str(tmp_path)]
    bench = subprocess.run(
        [sys.executable, "-m", "loadtests.bench", "--quick", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert bench.returncode == 0, bench.stdout + bench.stderr
    cases = msgspec.json.decode((tmp_path / "against.json").read_bytes(), type=Results).cases
    assert cases.labels == {THIS: "working tree", OTHER: "HEAD"}
    assert [name for name in cases.series if name not in {"memory", "rest", "half"}] == ["book"]
    for side in (THIS, OTHER):
        for name, figure in (
            ("book", "count"),
            ("book", "cpu_ms.program"),
            ("book", "cpu_ms.valkey"),
            ("half", "confirm_p99_ms"),
            ("memory", "pending_bytes"),
            ("rest", "rss_mib.api"),
        ):
            assert [value > 0 for value in cases.values(name, figure, side)] == [True], (side, name, figure)
    assert "this / other" in bench.stdout
