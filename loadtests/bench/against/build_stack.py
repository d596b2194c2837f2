"""The stack of a build, seen from outside.

No code of the build is imported here: its own `onsale up` starts its servers and processes, and it is used over HTTP,
`/metrics` and SQL.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import httpx

from loadtests.bench.stack import ANSWER_SECONDS_MAX, BenchStack
from ops.evidence.bulk import PASSWORD, Minted
from ops.supervision.process import ProcessFailed

if TYPE_CHECKING:
    from redis import Redis

    from domain.accounts.accounts import Role
    from loadtests.bench.against.build import Build

MINT_SECONDS_MAX = 300.0

SETTINGS = {"LIMIT_EVENT_CREATE": "999999/min"}
"""Events are made as they are needed; every other setting has its default."""

UNPERSISTED = re.compile(r"^onsale_unpersisted_bookings\{.*\} (\S+)$", re.MULTILINE)

SCRIPT = Path(__file__).parent / "minting_script.py"


class BuildStack(BenchStack):
    """The stack of a build."""

    def __init__(self, build: Build, folder: Path) -> None:
        """Describe it; its data are in `folder`."""
        super().__init__(folder, settings=SETTINGS, onsale=[build.onsale], tree=build.tree)
        self.name = build.label
        self.build = build

    def mint(self, *, role: Role, count: int) -> list[Minted]:
        """Accounts that are signed in, made by the build itself; raises ProcessFailed."""
        done = subprocess.run(
            [self.build.python, SCRIPT, role.value, str(count)],
            cwd=self.build.tree,
            env=self.variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=MINT_SECONDS_MAX,
        )
        if done.returncode:
            message = f"{self.name} makes no accounts: {done.stderr}"
            raise ProcessFailed(message)
        return [
            Minted(id=UUID(account_id), email=email, password=PASSWORD, token=token)
            for account_id, email, token in json.loads(done.stdout)
        ]

    def unpersisted(self, _: Redis) -> int:
        """Accepted changes of bookings that are not yet in PostgreSQL, by `/metrics`."""
        text = httpx.get(f"{self.url}/metrics", timeout=ANSWER_SECONDS_MAX).raise_for_status().text
        return round(sum(map(float, UNPERSISTED.findall(text))))
