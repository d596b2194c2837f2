"""Errors that an operator can fix are one line without a traceback, and nothing is created."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import asyncpg
import pytest

from ops.commands.demo_credentials import DEMO_FILE
from ops.embedded.binaries import postgres_for
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.server import ServerFailed
from ops.embedded.stack import EmbeddedStack
from ops.supervision.launcher import launcher
from tests.ops.stacks import environment, onsale
from tests.processes import ROOT

COMMANDS = {
    "migrate": [],
    "create-admin": ["--email", "root@example.org", "--password-stdin"],
    "set-password": ["--email", "root@example.org", "--password-stdin"],
    "rotate-keys": [],
    "demo": [],
    "audit": [],
}
"""Those that work on a stack, with what each needs."""


def _run(command, settings):
    return onsale([command, *COMMANDS.get(command, [])], settings, stdin="a long enough password\n")


def _is_a_line(done, *words):
    """Whether a command ended as one that was refused: with a line that has these words."""
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode in {1, 2}
    assert all(word in done.stderr for word in words), done.stderr
    return True


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_on_a_folder_without_a_stack_says_where_it_looked_and_makes_nothing(folder, command):
    """Mistyped, it would have acted on another system than the one meant."""
    nowhere = folder / "mistyped"

    refused = _run(command, environment(folder, embedded=True, DATA_DIR=str(nowhere)))

    assert _is_a_line(refused, f"there is no stack in {nowhere}", "DATA_DIR")
    assert refused.stdout == ""
    assert not nowhere.exists()


def test_an_empty_folder_has_no_stack_either(folder):
    (folder / "data").mkdir()

    assert _is_a_line(_run("audit", environment(folder, embedded=True)), f"there is no stack in {folder}/data")
    assert list((folder / "data").iterdir()) == []


def _a_file(path):
    path.touch()


def _a_dangling_link(path):
    path.symlink_to(path.with_name("nothing"))


def _in_a_file(path):
    path.with_name("file").touch()
    path.symlink_to(path.with_name("file") / "data")


def _a_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize("command", ["up", "audit"])
@pytest.mark.parametrize("make", [_a_file, _a_dangling_link, _in_a_file, _a_loop])
def test_a_data_folder_that_is_none_is_refused_with_a_line(folder, make, command):
    make(folder / "data")

    refused = _run(command, environment(folder, embedded=True, PORT="0" if command == "audit" else "18099"))

    assert _is_a_line(refused, "DATA_DIR" if command == "up" else "")


@pytest.mark.parametrize("command", ["up", "audit"])
def test_a_data_folder_that_cannot_be_written_to_is_refused_with_a_line(folder, command):
    """/proc takes no folder, not even from root."""
    refused = _run(command, environment(folder, embedded=True, DATA_DIR="/proc/onsale"))

    assert _is_a_line(refused, "DATA_DIR", "/proc/onsale")


@pytest.mark.parametrize("imported", ["click.core", "pydantic_core", "domain.platform.settings"])
def test_ctrl_c_while_it_starts_leaves_no_traceback(folder, imported):
    """Imports take most of the start; Python says when each has ended."""
    starting = subprocess.Popen(
        launcher([sys.executable, "-X", "importtime", "-m", "ops", "audit"], death_signal=signal.SIGKILL),
        cwd=ROOT,
        env=environment(folder, embedded=True),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with starting:
        assert any(line.rstrip().endswith(f" {imported}") for line in starting.stderr)

        starting.send_signal(signal.SIGINT)

        said = [line.strip() for line in starting.stderr if not line.startswith("import time:")]
    assert (said, starting.returncode) == (["onsale: interrupted"], 130)


def test_a_ctrl_c_that_was_held_back_while_python_started_is_obeyed(folder):
    """As `make run` does: Python itself would answer with a traceback."""
    held_back = "import os, signal, sys; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT});"
    interrupted = (
        "os.kill(os.getpid(), signal.SIGINT); os.execv(sys.executable, [sys.executable, '-m', 'ops', 'audit'])"
    )

    done = subprocess.run(
        [sys.executable, "-c", held_back + interrupted],
        cwd=ROOT,
        env=environment(folder, embedded=True),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.stderr, done.returncode) == ("onsale: interrupted\n", 130)


def test_books_are_repaired_while_the_stack_is_down(folder):
    data = folder / "data"
    settings = environment(folder, embedded=True)
    with EmbeddedStack(data, durable=False) as stack:
        assert onsale(["migrate"], settings | stack.environment()).returncode == 0
        assert onsale(["demo"], settings | stack.environment()).returncode == 0
        _execute(stack, "UPDATE counters SET taken = taken + 3 WHERE size = 650")

    fixed = onsale(["audit", "--fix"], settings)
    again = onsale(["audit"], settings)

    assert fixed.returncode == 0, fixed.stderr
    assert "3 instead of 0: " in fixed.stdout
    assert f"7 events, 0 with drift in {data}" in fixed.stdout
    assert again.stdout in fixed.stdout


def test_a_command_during_the_start_waits_until_the_servers_can_be_used(start, folder):
    """The stand-in's start does not migrate, so that there is no table yet."""
    stack = start(embedded=True)
    stack.wait_until_it_says("starting PostgreSQL")

    waited = _run("audit", environment(folder, embedded=True))

    assert waited.returncode == 0, waited.stderr
    assert f"0 events, 0 with drift in {folder}/data" in waited.stdout


def test_a_database_of_newer_code_is_left_alone(folder):
    settings = environment(folder, embedded=True)
    with EmbeddedStack(folder / "data", durable=False) as stack:
        urls = settings | stack.environment()
        onsale(["migrate"], urls)
        _execute(stack, "UPDATE alembic_version SET version_num = '9999'")

        refused = onsale(["migrate"], urls)

        kept = _execute(stack, "SELECT version_num FROM alembic_version")
    assert _is_a_line(refused, "version 9999", "newer code")
    assert kept == "9999"


def test_a_database_that_cannot_be_reached_is_not_migrated_and_told_so(folder):
    assert _is_a_line(_run("migrate", environment(folder, embedded=False)), "PostgreSQL could not be migrated: ")


BROKEN = ["", "{", "[]", "{}", '"text"']


@pytest.fixture(scope="module")
def stack_folder():
    """A folder with the data of a stack, made once: making a database takes longer than most of these commands."""
    made = Path(tempfile.mkdtemp(prefix="onsale-"))
    EmbeddedPostgres(made / "data", durable=False).make()
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize(("name", "command"), [("secrets.json", "audit"), (DEMO_FILE, "demo")])
def test_a_damaged_file_of_ours_is_named(stack_folder, name, command, content):
    damaged = stack_folder / "data" / name
    damaged.write_text(content)

    refused = _run(command, environment(stack_folder, embedded=True))

    damaged.unlink()
    assert _is_a_line(refused, str(damaged), "damaged")


@pytest.mark.parametrize("content", BROKEN)
def test_a_damaged_lock_file_is_written_anew(stack_folder, content):
    (stack_folder / "data" / "onsale.lock").write_text(content)

    assert _run("migrate", environment(stack_folder, embedded=True)).returncode == 0


def test_a_folder_whose_database_could_not_be_made_is_made_again(folder, monkeypatch):
    """PostgreSQL's single-user mode ends with 0 when a statement fails, as on a disk that has filled."""
    server = EmbeddedPostgres(folder / "data", durable=False)
    with monkeypatch.context() as full_disk:
        full_disk.setattr(
            "ops.embedded.postgres.postgres_for", lambda pgdata: _without_databases(folder, postgres_for(pgdata))
        )
        with pytest.raises(ServerFailed, match="could not be made"):
            server.make()
    left = sorted(path.name for path in (folder / "data").iterdir())

    server.start()

    try:
        assert left == ["log", "run"]
        assert asyncio.run(_ask(server.url(), "SELECT current_database()")) == "onsale"
    finally:
        server.kill()


def _without_databases(folder: Path, real: Path) -> Path:
    """PostgreSQL's programs, one of which fails to make databases as on a full disk."""
    stand_in = folder / "bin"
    stand_in.mkdir(exist_ok=True)
    for name in ("initdb", "postgres"):
        (stand_in / name).unlink(missing_ok=True)
    (stand_in / "initdb").write_text(f'#!/bin/sh\nexec {real}/initdb "$@"\n')
    spoilt = "sed 's/CREATE DATABASE onsale OWNER onsale/CREATE DATABASE onsale OWNER nobody_there/'"
    (stand_in / "postgres").write_text(
        f'#!/bin/sh\n[ "$1" = --single ] || exec {real}/postgres "$@"\n{spoilt} | {real}/postgres "$@"\n'
    )
    for name in ("initdb", "postgres"):
        os.chmod(stand_in / name, 0o755)  # noqa: PTH101
    os.chmod(folder, 0o755)  # noqa: PTH101  (PostgreSQL runs as another user when the tests run as root)
    return stand_in


def _execute(stack, statement):
    return asyncio.run(_ask(stack.postgres.url(), statement))


async def _ask(url, statement):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()
