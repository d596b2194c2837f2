"""Reads the README and docs/: sections, tables and shell sessions."""

from __future__ import annotations

import re

from tests.processes import ROOT

README, API, OPERATE, PERFORMANCE = "README.md", "docs/api.md", "docs/operate.md", "docs/performance.md"

_CODE = re.compile(r"`([^`]+)`")
_BASH = re.compile(r"```bash\n(.*?)```", re.DOTALL)


def section(page: str, title: str) -> str:
    """The text under a heading of a page."""
    _, _, rest = (ROOT / page).read_text().partition(f"\n## {title}\n")
    assert rest, title
    return rest.partition("\n## ")[0]


def table(page: str, title: str) -> list[list[str]]:
    """The rows of a section's table, without its head."""
    lines = [line for line in section(page, title).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def codes(cell: str) -> list[str]:
    """What stands in backticks."""
    return _CODE.findall(cell)


def shell_sessions(page: str, title: str) -> list[str]:
    """The bash blocks of a section."""
    return _BASH.findall(section(page, title))
