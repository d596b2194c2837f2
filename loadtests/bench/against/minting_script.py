"""Makes accounts that are signed in, with the code of the build whose Python runs this file.

Runs by its path in the tree of any build. Writes a JSON list of [id, email, token].
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
from pathlib import Path
from typing import Any

HOMES = (
    ("ops.evidence.bulk", "domain.accounts.accounts", "domain.platform.settings"),
    ("ops.minting", "domain.identity", "domain.settings"),
)
"""Modules of `mint`, `Role` and `load_settings` in different builds, the newest first."""


def main() -> None:
    """Arguments: role, count."""
    # The tree of the build must come first on the path, instead of this script's folder.
    sys.path[0] = str(Path.cwd())
    minting, roles, settings = _home()
    made = asyncio.run(minting.mint(settings.load_settings(), role=roles.Role(sys.argv[1]), count=int(sys.argv[2])))
    json.dump([(str(each.id), each.email, each.token) for each in made], sys.stdout)


def _home() -> list[Any]:
    for names in HOMES:
        try:
            return [importlib.import_module(name) for name in names]
        except ModuleNotFoundError:
            continue
    sys.exit(f"this build keeps mint, Role and load_settings in none of {HOMES}")


if __name__ == "__main__":
    main()
