"""The bench measures two builds in turns, and tells this one's figures as ratios to the other's."""

from __future__ import annotations

import subprocess
import sys

import msgspec
import pytest

from loadtests.bench.against.build import RevisionRefused, revision
from loadtests.bench.against.results import Comparison, report
from tests.loadtests.bench.results import half, measured
from tests.processes import ROOT

EXIT_FAILED = 2


def comparison() -> Comparison:
    found = Comparison(
        started_at="2030-01-01 00:00 UTC",
        machine={"cores": 2},
        options={"rounds": 2},
        generator="wrk",
        this="working tree",
        other="v1",
    )
    book = found.case("book", "(b) bookings")
    book.this += [measured(3_000.0), measured(500.0)]
    book.other += [measured(2_000.0), measured(1_000.0)]
    found.halves.this.append(half(post_p99_ms=10.0))
    found.halves.other.append(half(post_p99_ms=20.0))
    return found


def lines_of(text: str, title: str) -> list[list[str]]:
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()]
    return [line for line in cells if line[0].startswith(title)]


def test_a_ratio_is_the_median_of_those_within_each_round() -> None:
    (rates, *_), figures = lines_of(report(comparison()), "(b)"), lines_of(report(comparison()), "half load: POST p99")

    assert rates[1:6] == ["1,750", "1,500", "1.00", "0.50", "1.50"]
    assert figures == [["half load: POST p99 ms", "10.0", "20.0", "0.50", "0.50", "0.50"]]


def test_all_parts_of_a_request_are_added_up_and_the_generator_is_left_out() -> None:
    found = comparison()
    for each in (*found.cases[0].measured.this, *found.cases[0].measured.other):
        each.cpu_ms["generator"] = 9.0

    (whole,) = lines_of(report(found), "(b) bookings: all parts")

    assert whole[1:] == ["0.3000", "0.3000", "1.00", "1.00", "1.00"]


def test_a_case_that_was_begun_is_gone_on_with() -> None:
    found = comparison()

    found.case("book", "(b) bookings").of("other").append(measured(1.0))

    assert [len(side) for side in found.cases[0].measured.both] == [2, 3]


def test_a_revision_that_git_does_not_know_is_refused() -> None:
    with pytest.raises(RevisionRefused, match="no revision no-such-thing"):
        revision("no-such-thing")


def test_a_word_that_git_would_take_for_an_option_is_no_revision() -> None:
    with pytest.raises(RevisionRefused):
        revision("--help")


@pytest.mark.timeout(400)
def test_one_command_measures_two_builds_in_turns(tmp_path) -> None:
    arguments = ["--against", "HEAD", "--only", "b,h,m", "--backlog", "1000", "--out", str(tmp_path)]
    bench = subprocess.run(
        [sys.executable, "-m", "loadtests.bench", "--quick", "--half-seconds", "1", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )

    assert bench.returncode == 0, bench.stdout + bench.stderr
    found = msgspec.json.decode((tmp_path / "against.json").read_bytes(), type=Comparison)
    assert (found.this, found.other) == ("working tree", "HEAD")
    assert [case.name for case in found.cases] == ["book"]
    for side in ("this", "other"):
        (booked,) = found.cases[0].measured.of(side)
        assert booked.count > 0
        assert booked.cpu_ms["program"] > 0
        assert booked.cpu_ms["valkey"] > 0
        assert found.halves.of(side)[0].confirm_p99_ms > 0
        assert found.memories.of(side)[0].pending_bytes > 0
        assert found.rss_bytes.of(side)[0]["api"] > 0
    assert "this / other" in bench.stdout
