"""`make lint-api` runs the locked tools, and names what is missing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import pytest

from api.reference.openapi import openapi_document
from tests.processes import ROOT

FOLDER = ROOT / "tests/contract/typescript"

TOOLS = ("sh", "dirname", "mkdir", "cp", "env")
"""What the script needs before it looks for Node."""


@pytest.fixture
def path_without_node(tmp_path):
    """A search path with the usual programs and no Node."""
    for name in TOOLS:
        (tmp_path / name).symlink_to(shutil.which(name))
    return tmp_path


def _run(path, *, root=ROOT):
    return subprocess.run(
        [root / "ops/lint-api"], env={"PATH": str(path)}, capture_output=True, text=True, check=False, timeout=110
    )


def test_without_node_it_says_what_to_install(path_without_node):
    done = _run(path_without_node)

    assert done.returncode == 1
    assert "install Node.js 20.19 or newer with npm" in done.stderr


@pytest.mark.parametrize("version", ["18.20.0", "20.18.3", "21.7.0"])
def test_an_old_node_is_refused_by_its_version(path_without_node, version):
    node = path_without_node / "node"
    node.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo v{version} && exit\nexit 1\n')
    node.chmod(0o755)
    (path_without_node / "npm").symlink_to("/bin/true")

    done = _run(path_without_node)

    assert done.returncode == 1
    assert f"v{version} cannot run the checks" in done.stderr


PROGRAMS = {"node": "[ $1 = -e ] || echo v22.12.0", "npm": "echo npm is asked >&2; exit 3", "cat": "", "cksum": ""}
"""A recent Node, and a package manager that installs nothing."""


@pytest.fixture
def tree(tmp_path_factory):
    """A checkout whose script writes into a build folder of its own."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("tests", "api", "domain"):
        (tree / name).symlink_to(ROOT / name)
    (tree / ".venv").symlink_to(sys.prefix)
    (tree / "ops").mkdir()
    shutil.copy(ROOT / "ops/lint-api", tree / "ops")
    return tree


def test_it_writes_the_document_before_it_installs_anything(path_without_node, tree):
    for name, script in PROGRAMS.items():
        (path_without_node / name).write_text(f"#!/bin/sh\n{script}\n")
        (path_without_node / name).chmod(0o755)

    done = _run(path_without_node, root=tree)

    assert (done.returncode, done.stderr) == (3, "npm is asked\n")
    assert (tree / "build/lint-api/openapi.json").read_bytes() == openapi_document()


def test_every_package_is_locked_by_its_hash_and_names_no_registry():
    lock = (FOLDER / "package-lock.json").read_text()
    packages = {name: package for name, package in json.loads(lock)["packages"].items() if name}

    assert len(packages) > 20
    assert {name for name, package in packages.items() if not package["integrity"].startswith("sha512-")} == set()
    assert not re.search(r'"resolved"|registry\.|\.tgz"', lock)


def test_the_programs_are_pinned():
    wanted = json.loads((FOLDER / "package.json").read_text())["devDependencies"]
    locked = json.loads((FOLDER / "package-lock.json").read_text())["packages"]

    assert {name: locked[f"node_modules/{name}"]["version"] for name in wanted} == wanted
