"""The contracts on imports in pyproject.toml cover every module there is."""

from __future__ import annotations

import tomllib

from tests.processes import ROOT


def test_every_module_of_the_engine_was_given_its_place():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    placed = {module for contract in contracts for module in contract.get("source_modules", [])}
    there = {f"domain.{path.stem}" for path in (ROOT / "domain").glob("*.py") if path.stem != "__init__"}

    assert there - placed == set()
    assert {module for module in placed if module.startswith("domain.")} - there == set()


def test_every_package_is_installed_and_checked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    there = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in ROOT.glob("*/**/__init__.py")
        if path.relative_to(ROOT).parts[0] not in {"tests", "build", ".venv"}
    }

    assert set(project["setuptools"]["packages"]) == there
    assert set(project["importlinter"]["root_packages"]) == {package for package in there if "." not in package}
