"""The import contracts in pyproject.toml cover every module."""

from __future__ import annotations

import tomllib

from setuptools import find_packages

from tests.processes import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]


def test_every_module_has_its_layer():
    layered = [contract for contract in PROJECT["importlinter"]["contracts"] if "containers" in contract]

    assert {name for contract in layered for name in contract["containers"]} >= {
        "api",
        "worker",
        "domain",
        "domain.store",
        "ops",
        "loadtests",
    }
    assert all(contract["exhaustive"] for contract in layered)


def test_every_package_is_installed_and_checked():
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.glob("*/**/__init__.py")
        if path.relative_to(ROOT).parts[0] not in {"tests", "build", ".venv"}
    } | {path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"}

    found = find_packages(ROOT, include=PROJECT["setuptools"]["packages"]["find"]["include"])
    assert set(found) == there
    assert set(PROJECT["importlinter"]["root_packages"]) == {package for package in there if "." not in package}
