"""Sums of a profiler's stacks."""

from __future__ import annotations

import pytest

from loadtests.bench.cases.hot import CpuProfile

STACKS = [
    "main (run.py:1);serve (api.py:7);read (api.py:20) 6",
    "main (run.py:1);serve (api.py:9) 3",
    "main (run.py:2) 1",
]


def test_shares_are_of_all_samples_whatever_the_line():
    profile = CpuProfile.of(STACKS)

    assert profile.samples == 10
    assert profile.own == pytest.approx({"read (api.py)": 0.6, "serve (api.py)": 0.3, "main (run.py)": 0.1})
    assert profile.within == pytest.approx({"main (run.py)": 1.0, "serve (api.py)": 0.9, "read (api.py)": 0.6})


def test_a_function_that_calls_itself_is_counted_once_in_a_stack():
    profile = CpuProfile.of(["walk (tree.py:1);walk (tree.py:2);walk (tree.py:2) 4"])

    assert profile.within == {"walk (tree.py)": 1.0}


def test_the_table_begins_with_what_ran_most():
    table = CpuProfile.of(STACKS).table().splitlines()

    assert table[2] == "| `read (api.py)` | 60.0% | 60.0% |"
    assert table[3] == "| `serve (api.py)` | 30.0% | 90.0% |"
