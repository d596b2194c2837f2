"""The Procfile: the processes of the system, one per line."""

from __future__ import annotations

import re
import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LINE = re.compile(r"(?P<name>[a-z][a-z0-9_]*):\s*(?P<command>\S.*)", re.ASCII)


class ProcfileRefused(Exception):
    """The Procfile is invalid; `str()` names the line."""


def read_procfile(path: Path) -> dict[str, list[str]]:
    """Return the command of each process type; `python` stands for the Python that runs this.

    Raises:
        ProcfileRefused: the file is missing, empty, or has a line that is not `name: command`.
    """
    try:
        text = path.read_text()
    except OSError as error:
        message = f"{path}: {error.strerror}"
        raise ProcfileRefused(message) from error
    lines = [line.strip() for line in text.splitlines()]
    commands = dict(_parse(line, path) for line in lines if line and not line.startswith("#"))
    if not commands:
        message = f"{path} names no process"
        raise ProcfileRefused(message)
    return commands


def _parse(line: str, path: Path) -> tuple[str, list[str]]:
    match = LINE.fullmatch(line)
    if match is None:
        message = f"{path}: expected `name: command`, found {line!r}"
        raise ProcfileRefused(message)
    words = shlex.split(match["command"])
    return match["name"], [sys.executable if words[0] == "python" else words[0], *words[1:]]
