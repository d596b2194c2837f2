"""The part of the house style that a program can check."""

from __future__ import annotations

import ast
import re
from itertools import chain

import pytest

from tests.processes import ROOT

PACKAGES = ("api", "domain", "worker", "ops", "loadtests", "migrations")

FUNCTION_LINES_MAX = 50

UNWANTED_NAMES = {"utils", "helpers", "models", "services", "managers", "common", "misc"}

MODULES = sorted(chain.from_iterable((ROOT / package).rglob("*.py") for package in PACKAGES))


def test_no_function_is_longer_than_a_page():
    long = {
        f"{path.relative_to(ROOT)}:{node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _lines(node) > FUNCTION_LINES_MAX
    }

    assert long == set()


def test_no_module_is_named_after_nothing():
    named = {path for path in MODULES if UNWANTED_NAMES & {path.stem, path.parent.name}}

    assert named == set()


def test_nothing_is_caught_without_saying_what_but_in_an_outermost_loop():
    bare = {
        f"{path.relative_to(ROOT)}:{handler.lineno}"
        for path in MODULES
        for handler in ast.walk(ast.parse(path.read_text()))
        if isinstance(handler, ast.ExceptHandler) and handler.type is None
    }

    assert bare == set()


@pytest.mark.parametrize("folder", ["kernel", "rules"])
def test_test_names_state_facts(folder):
    names = {
        node.name
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }

    assert {name for name in names if name.count("_") < 3} == set()


def test_scripts_and_statements_are_never_put_together_from_what_a_caller_says():
    """A statement is a constant: formatted ones name tables and limits of this code only."""
    formatted = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in MODULES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "text"
        and any(isinstance(argument, ast.JoinedStr) and _varies(argument) for argument in call.args)
    ]

    assert formatted == []


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of the body, its docstring left out."""
    documented = ast.get_docstring(function) is not None
    body = function.body[1:] if documented and len(function.body) > 1 else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1


def _varies(formatted: ast.JoinedStr) -> bool:
    """Whether anything but a constant of the module is put in."""
    return any(
        isinstance(part, ast.FormattedValue)
        and not (isinstance(part.value, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z0-9_]*", part.value.id))
        for part in formatted.values
    )
