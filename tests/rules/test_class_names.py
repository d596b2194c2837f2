"""A class is found by its name: no two classes have the same one."""

from __future__ import annotations

import ast
from collections import defaultdict

from tests.processes import ROOT

PACKAGES = ("api", "worker", "domain", "ops", "loadtests", "migrations")


def test_no_two_classes_have_the_same_name():
    places = defaultdict(list)
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places[node.name].append(f"{path.relative_to(ROOT)}:{node.lineno}")

    assert {name: found for name, found in places.items() if len(found) > 1} == {}
