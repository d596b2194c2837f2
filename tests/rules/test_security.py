"""Every row of SECURITY.md names existing code and existing tests."""

from __future__ import annotations

import ast
import re

from tests.processes import ROOT

REQUIRED = {f"S{number}" for number in range(1, 31)} - {"S7", "S10", "S21", "S24", "S25"}

TEXT = (ROOT / "SECURITY.md").read_text()
ROWS = {row[0]: row[2:] for row in re.findall(r"^\| (S\d+) \| (.*?) \| (.*?) \| (.*?) \|$", TEXT, re.MULTILINE)}
REFERENCE = re.compile(r"`([\w/]+\.py)::(\w+)`")


def _defined(path, name):
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and node.name == name:
            return node
    return None


def test_every_line_has_a_row():
    assert set(ROWS) == REQUIRED


def test_every_row_says_where_in_the_code_it_is():
    missing = {
        (line, *reference)
        for line, (where, _) in ROWS.items()
        for reference in REFERENCE.findall(where) or [("", "")]
        if not reference[0] or _defined(*reference) is None
    }

    assert missing == set()


def test_every_row_has_tests_that_name_its_line():
    wrong = {
        (line, *reference)
        for line, (_, tests) in ROWS.items()
        for reference in REFERENCE.findall(tests) or [("", "")]
        if not reference[0]
        or (found := _defined(*reference)) is None
        or not re.search(rf"\b{line}\b", ast.get_docstring(found) or "")
    }

    assert wrong == set()


def test_each_risk_of_owasp_is_answered_by_lines_there_are():
    risks = re.findall(r"^\| API(\d+) .* \| ([S\d, ]+) \|$", TEXT, re.MULTILINE)

    assert [int(number) for number, _ in risks] == list(range(1, 11))
    assert {line for _, lines in risks for line in lines.split(", ")} <= REQUIRED
