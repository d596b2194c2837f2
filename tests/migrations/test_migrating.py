"""Two migrations at once run one after the other, and do not deadlock."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import asyncpg

from tests.processes import ROOT

INVALID = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"


async def _execute(url, *statements):
    connection = await asyncpg.connect(url)
    try:
        return [await connection.fetch(statement) for statement in statements]
    finally:
        await connection.close()


def test_two_runs_at_once_migrate_once(empty_url):
    command = [
        sys.executable,
        "-c",
        "import sys; from migrations.upgrade import migrate; migrate(sys.argv[1])",
        empty_url,
    ]
    runs = [subprocess.Popen(command, cwd=ROOT) for _ in range(2)]

    ended = [run.wait() for run in runs]

    versions, (invalid,) = asyncio.run(_execute(empty_url, "SELECT version_num FROM alembic_version", INVALID))
    assert (ended, len(versions), invalid["count"]) == ([0, 0], 1, 0)
