"""What stands in the README: its sections, tables and shell sessions."""

from __future__ import annotations

import re

from tests.processes import ROOT

_CODE = re.compile(r"`([^`]+)`")
_BASH = re.compile(r"```bash\n(.*?)```", re.DOTALL)


def section(title: str) -> str:
    """The text under a heading."""
    _, _, rest = (ROOT / "README.md").read_text().partition(f"\n## {title}\n")
    assert rest, title
    return rest.partition("\n## ")[0]


def table(title: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return _CODE.findall(cell)


def shell_sessions(title: str) -> list[str]:
    """The bash blocks of a section."""
    return _BASH.findall(section(title))
