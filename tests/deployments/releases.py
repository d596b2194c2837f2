"""Other versions of this code, each in its own folder: the previous release, and changed builds."""

from __future__ import annotations

import io
import re
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

from tests.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

RELEASE = re.compile(r"^## (\d+\.\d+\.\d+) \(`([0-9a-f]{7,40})`\)$", re.MULTILINE)
"""A heading of the changelog: a version, and the commit that it was made of."""

PACKAGES = ("api", "worker", "domain")
"""What an API or worker process is made of."""

FULL_HISTORY = "the tests start the release before this one from its commit: get it with `git fetch --unshallow --tags`"


class NoHistory(Exception):
    """The previous release's commit is not here; `str()` says what to do."""


def previous_commit() -> str:
    """The commit of the newest release in the changelog."""
    found = RELEASE.search((ROOT / "CHANGELOG.md").read_text())
    if found is None:
        message = "CHANGELOG.md names no release with its commit"
        raise NoHistory(message)
    return found[2]


def previous_release(folder: Path) -> Path:
    """The code of the newest release, as it was.

    Raises:
        NoHistory: this is no clone with its history.
    """
    commit = previous_commit()
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    archive = subprocess.run([*git, "archive", commit, *PACKAGES], capture_output=True, check=False)
    if archive.returncode:
        message = f"{commit} is not in this clone; {FULL_HISTORY}\n{archive.stderr.decode()}"
        raise NoHistory(message)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


def changed_build(folder: Path, changes: dict[str, tuple[str, str]]) -> Path:
    """This code with texts replaced: by file, what stands there and what is to."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            folder / package,
        )
    for name, (before, after) in changes.items():
        path = folder / name
        text = path.read_text()
        assert before in text
        path.write_text(text.replace(before, after, 1))
    return folder
