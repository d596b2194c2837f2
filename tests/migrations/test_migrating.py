"""Migrations can run at once, and again after they were killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import asyncpg
import pytest

from migrations.upgrade import migrate
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


IN_PARTS = sorted(
    path.stem[:4] for path in (ROOT / "migrations" / "versions").glob("0*.py") if "autocommit_block" in path.read_text()
)
"""Migrations that commit before they are complete."""


@pytest.mark.parametrize("revision", IN_PARTS)
def test_a_migration_that_was_killed_before_its_end_can_be_repeated(empty_url, revision):
    migrate(empty_url, revision=revision)
    before = f"UPDATE alembic_version SET version_num = '{int(revision) - 1:04}'"
    asyncio.run(_execute(empty_url, before))

    migrate(empty_url)

    versions, (invalid,) = asyncio.run(_execute(empty_url, "SELECT version_num FROM alembic_version", INVALID))
    assert (len(versions), invalid["count"]) == (1, 0)
