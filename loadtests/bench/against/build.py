"""Builds of any revision, each in a tree with its own locked packages, and their stacks as seen from outside.

No code of the build is imported here: its own `onsale up` starts its servers and processes, and it is used over HTTP,
`/metrics` and SQL.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
from msgspec import Struct

from loadtests.bench.stack import ANSWER_SECONDS_MAX, BenchStack
from ops.evidence.bulk import PASSWORD, Minted
from ops.supervision.program import plain_environment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from redis import Redis

    from domain.accounts.accounts import Role

ROOT = Path(__file__).parent.parent.parent.parent
"""The working tree."""

BUILDS = ROOT / "build" / "against"
"""The folder of other revisions; ignored by git, and used again by later runs."""

COMMAND_SECONDS_MAX = 900
"""Installing the packages takes longest."""

CLIENTS = ("PIP_", "UV_", "SSL_", "REQUESTS_")
"""How names of settings of package clients begin."""

SETTINGS = {"LIMIT_EVENT_CREATE": "999999/min"}
"""Events are made as they are needed; every other setting has its default."""

UNPERSISTED = re.compile(r"^onsale_unpersisted_bookings\{.*\} (\S+)$", re.MULTILINE)

MINTING_SCRIPT = Path(__file__).parent / "minting_script.py"


class RevisionRefused(ValueError):
    """A revision that cannot be built or used; `str()` says why."""


class Build(Struct, frozen=True, kw_only=True):
    """The code of one side; `label` names it in reports."""

    label: str
    tree: Path

    @property
    def programs(self) -> Path:
        """The folder of its Python and its `onsale`."""
        return self.tree / ".venv" / "bin"


def working_tree() -> Build:
    """The code of this tree, uncommitted changes included.

    Raises:
        RevisionRefused: its environment is not installed.
    """
    build = Build(label="working tree", tree=ROOT)
    if not (build.programs / "onsale").exists():
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
    what, variables = f"the packages of {name} cannot be installed", plain_environment() | clients
    _output_of([tree / "ops" / "install", "runtime"], what=what, folder=tree, variables=variables)
    return Build(label=name, tree=tree)


class BuildStack(BenchStack):
    """The stack of a build."""

    def __init__(self, build: Build, folder: Path) -> None:
        """Describe it; its data are in `folder`."""
        super().__init__(folder, settings=SETTINGS, onsale=[build.programs / "onsale"], tree=build.tree)
        self.name = build.label
        self.build = build

    def mint(self, *, role: Role, count: int) -> list[Minted]:
        """Accounts that are signed in, made by the build itself; raises RevisionRefused."""
        command = [self.build.programs / "python", MINTING_SCRIPT, role.value, str(count)]
        what = f"{self.name} makes no accounts"
        made = _output_of(command, what=what, folder=self.build.tree, variables=self.variables)
        return [
            Minted(id=UUID(account_id), email=email, password=PASSWORD, token=token)
            for account_id, email, token in json.loads(made)
        ]

    def unpersisted(self, _: Redis) -> int:
        """Accepted changes of bookings that are not yet in PostgreSQL, by `/metrics`."""
        text = httpx.get(f"{self.url}/metrics", timeout=ANSWER_SECONDS_MAX).raise_for_status().text
        return round(sum(map(float, UNPERSISTED.findall(text))))


def _git(*words: str, what: str) -> str:
    git = shutil.which("git")
    if git is None:
        message = f"{what}: git is not installed"
        raise RevisionRefused(message)
    return _output_of([git, *words], what=what, folder=ROOT, variables=os.environ).strip()


def _output_of(command: Sequence[str | Path], *, what: str, folder: Path, variables: Mapping[str, str]) -> str:
    """Run a command to its end; `what` has gone wrong if it fails."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS_MAX,
    )
    if done.returncode:
        message = f"{what}:\n{done.stdout}{done.stderr}".strip()
        raise RevisionRefused(message)
    return done.stdout
