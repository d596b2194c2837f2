"""The licences of all shipped packages allow use, change and sale."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError

import pytest
from click.testing import CliRunner

from ops.commands import licences as under_test
from ops.commands.cli import main
from ops.commands.licences import DEV_LOCK, NOT_INSTALLED, RUNTIME_LOCK, UNKNOWN, USED_BESIDE, Licence, licences


@pytest.mark.parametrize("lock", [RUNTIME_LOCK, DEV_LOCK], ids=["runtime", "dev"])
def test_every_locked_package_has_a_known_and_allowed_licence(lock):
    found = licences(lock)

    assert [each for each in found if not each.allowed] == []
    assert len(found) == len([line for line in lock.read_text().splitlines() if re.match(r"[a-z]", line)]) > 40


def test_what_is_only_used_beside_is_not_shipped():
    assert {each.name for each in licences(RUNTIME_LOCK)} & USED_BESIDE.keys() == set()


def test_packages_that_are_not_here_are_the_few_for_other_systems():
    absent = {each.name for each in licences(RUNTIME_LOCK) if each.expression == NOT_INSTALLED}

    assert absent <= {"async-timeout", "colorama", "winloop"}


@pytest.mark.parametrize(
    ("declared", "expression", "allowed"),
    [
        ({"License-Expression": "MIT OR Apache-2.0"}, "MIT OR Apache-2.0", True),
        ({"License-Expression": "GPL-3.0-only"}, "GPL-3.0-only", False),
        ({"License-Expression": "MIT AND AGPL-3.0-only"}, "MIT AND AGPL-3.0-only", False),
        ({"Classifier": "License :: OSI Approved :: MIT License"}, "MIT", True),
        ({"Classifier": "License :: OSI Approved :: GNU General Public License v3 (GPLv3)"}, None, False),
        ({"License": "BSD-3-Clause", "Classifier": "License :: OSI Approved :: BSD License"}, "BSD-3-Clause", True),
        ({"License": "Ask the author"}, "Ask the author", False),
        ({}, UNKNOWN, False),
    ],
)
def test_what_a_package_declares_is_understood_or_not_allowed(monkeypatch, declared, expression, allowed):
    class Declared:
        metadata = type("Metadata", (dict,), {"get_all": lambda self, name: [self[name]] if name in self else None})(
            declared
        )

    monkeypatch.setattr(under_test, "distribution", lambda _: Declared)

    found = under_test._expression_of("a-package")

    assert expression in {None, found}
    assert Licence("a-package", "1", found).allowed is allowed


def test_a_package_of_another_system_is_told_as_such(monkeypatch):
    def nowhere(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(under_test, "distribution", nowhere)

    assert under_test._expression_of("a-package") == NOT_INSTALLED


def test_the_command_lists_every_package_and_fails_for_one_that_is_not_allowed(monkeypatch):
    listed = CliRunner().invoke(main, ["licences"])
    monkeypatch.setattr(under_test, "ALLOWED", frozenset({"MIT"}))
    refused = CliRunner().invoke(main, ["licences"])

    assert listed.exit_code == 0
    assert "litestar" in listed.output
    assert refused.exit_code == 1
    assert "<- not allowed" in refused.output
