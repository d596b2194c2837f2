"""A build: a tree of this project's code, and the Python with its locked packages."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from msgspec import Struct

from ops.supervision.program import plain_environment

ROOT = Path(__file__).parent.parent.parent.parent
"""The working tree."""

BUILDS = ROOT / "build" / "against"
"""The folder of other revisions; ignored by git, and used again by later runs."""

INSTALL_SECONDS_MAX = 900

CLIENTS = ("PIP_", "UV_", "SSL_", "REQUESTS_")
"""How names of settings of package clients begin."""


class RevisionRefused(ValueError):
    """A revision that cannot be built; `str()` says why."""


class Build(Struct, frozen=True, kw_only=True):
    """The code of one side; `label` names it in reports."""

    label: str
    tree: Path

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return self.tree / ".venv" / "bin" / "python"

    @property
    def onsale(self) -> Path:
        """Its command line."""
        return self.tree / ".venv" / "bin" / "onsale"


def working_tree() -> Build:
    """The code of this tree, uncommitted changes included.

    Raises:
        RevisionRefused: its environment is not installed.
    """
    build = Build(label="working tree", tree=ROOT)
    if not build.onsale.exists():
        message = "the working tree has no .venv: run `make bench`, which installs it"
        raise RevisionRefused(message)
    return build


def revision(name: str) -> Build:
    """Check out a revision and install its locked packages, unless an earlier run did.

    Raises:
        RevisionRefused: git does not know the revision, or its packages cannot be installed.
    """
    commit = _git(
        "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", what=f"no revision {name}"
    )
    tree = BUILDS / commit[:12]
    if not tree.exists():
        BUILDS.mkdir(parents=True, exist_ok=True)
        _git("worktree", "prune", what="git cannot tidy its worktrees")
        _git("worktree", "add", "--quiet", "--detach", str(tree), commit, what=f"{name} cannot be checked out")
    clients = {variable: value for variable, value in os.environ.items() if variable.startswith(CLIENTS)}
    done = subprocess.run(
        [tree / "ops" / "install", "runtime"],
        cwd=tree,
        env=plain_environment() | clients,
        capture_output=True,
        text=True,
        check=False,
        timeout=INSTALL_SECONDS_MAX,
    )
    if done.returncode:
        message = f"the packages of {name} cannot be installed:\n{done.stdout}{done.stderr}"
        raise RevisionRefused(message)
    return Build(label=name, tree=tree)


def _git(*words: str, what: str) -> str:
    git = shutil.which("git")
    if git is None:
        message = f"{what}: git is not installed"
        raise RevisionRefused(message)
    done = subprocess.run([git, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        message = f"{what}: {done.stderr.strip() or 'git does not know it'}"
        raise RevisionRefused(message)
    return done.stdout.strip()
