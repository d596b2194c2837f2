"""The import contracts in pyproject.toml hold, and the modules that they name exist."""

from __future__ import annotations

import re
import subprocess

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.processes import ROOT


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_the_contracts_on_imports_are_kept(capsys):
    status = lint_imports(no_cache=True)

    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


_PACKAGES = re.compile(r"(?:api|worker|domain|ops|loadtests|migrations|tests)\.")

_NAMED = re.compile(
    r"\bimport (?P<imported>[\w.]+(?:, [\w.]+)*)|\bfrom (?P<source>[\w.]+) import"
    r"|-m\W+(?P<run>[\w.]+)|\s\((?P<told>[\w.]+)\)"
)
"""Modules, as code in a string, a script, a command or the parentheses of a comment names them."""

_HISTORY = ("CHANGELOG.md", "loadtests/results/")
"""What tells how it was, with the names of that time."""


def _is_there(name):
    """Whether the dotted name is a package, a module, or something in a module."""
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file() or path.parent.with_suffix(".py").is_file()


def _texts():
    for name in subprocess.check_output(["git", "ls-files"], text=True, cwd=ROOT).splitlines():
        path = ROOT / name
        if path.is_file() and not name.startswith(_HISTORY) and path.suffix != ".lua":
            try:
                yield name, path.read_text()
            except UnicodeDecodeError:
                continue


def _names(text):
    for found in _NAMED.finditer(text):
        for name in found[found.lastgroup].split(", "):
            if _PACKAGES.match(name) and not name.endswith(".py"):
                yield name.rstrip(".")


def test_every_module_that_scripts_commands_and_comments_name_exists():
    missing = {(file, name) for file, text in _texts() for name in _names(text) if not _is_there(name)}

    assert missing == set()
