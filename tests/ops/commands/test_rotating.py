"""`onsale rotate-keys` from the command line."""

from __future__ import annotations

import contextlib
import json
import signal
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from click.testing import CliRunner

from domain.accounts.accounts import Role
from domain.accounts.tokens import LEEWAY_S, utc_now
from domain.platform.settings import REFRESH_TOKEN_SECONDS_MAX
from ops.commands.cli import main
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.stack import EmbeddedStack
from ops.evidence.bulk import mint
from ops.supervision.launcher import launcher
from tests.ops.stacks import environment
from tests.processes import ROOT

NINETY_DAYS_S = 7_776_000


@pytest.fixture
def stack(folder):
    """The environment of a stack that does not run and has no database yet."""
    EmbeddedPostgres(folder / "data", durable=False).make()
    return environment(folder, embedded=True)


def _rotate_keys(settings, *options):
    return CliRunner().invoke(main, ["rotate-keys", *options], env=settings)


def _servers(settings, folder):
    """What leads an operator to the servers of these settings; lifetimes are not in it."""
    urls = {name: getattr(settings, name.lower()).get_secret_value() for name in ("DATABASE_URL", "REDIS_URL")}
    queue, secret = settings.queue_url.get_secret_value(), settings.jwt_secret.get_secret_value()
    ring = {"JWT_SECRET": secret, "JWT_KEYS_FILE": str(folder / "ring.json")}
    return environment(folder, embedded=True) | urls | {"QUEUE_URL": queue} | ring


def _kept(path):
    return json.loads(path.read_text())["keys"]


def test_the_embedded_stacks_own_secret_is_rotated(folder, stack):
    """S3: its first key is the secret it made for itself (S1)."""
    first = _rotate_keys(stack)
    second = _rotate_keys(stack)

    own = EmbeddedStack(folder / "data").environment()
    file = folder / "data" / "keys.json"
    kept = _kept(file)
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert own["JWT_KEYS_FILE"] == str(file.resolve())
    assert [key["secret"] for key in kept][-1] == own["JWT_SECRET"]
    assert [first.output.count("is accepted until"), second.output.count("is accepted until")] == [1, 2]
    assert str(file.resolve()) in first.output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [key for key in kept if key["secret"] in first.output + second.output]


def test_after_a_leak_the_old_keys_are_dropped(folder, stack):
    _rotate_keys(stack)

    dropped = _rotate_keys(stack, "--drop-old")

    assert dropped.exit_code == 0
    assert len(_kept(folder / "data" / "keys.json")) == 1


async def test_an_old_key_lives_as_long_as_the_last_session_whatever_the_operators_shell_says(
    stores,  # noqa: ARG001  (clean servers)
    settings,
    folder,
):
    long = settings.model_copy(update={"refresh_token_seconds": NINETY_DAYS_S})
    end_s = (utc_now() + timedelta(seconds=NINETY_DAYS_S)).timestamp()
    await mint(long, role=Role.ATTENDEE, count=1)

    rotated = _in_a_thread_of_its_own(_servers(settings, folder))

    retires_s = _kept(folder / "ring.json")[1]["retires_s"]
    assert rotated.exit_code == 0, rotated.output
    assert retires_s >= end_s + LEEWAY_S


def test_an_old_key_lives_as_long_as_what_the_running_stack_signs(folder, stack):
    with EmbeddedStack(folder / "data", durable=False), _serving(folder / "data", token_seconds=NINETY_DAYS_S):
        rotated = _rotate_keys(stack)

    assert rotated.exit_code == 0, rotated.output
    assert _kept(folder / "data" / "keys.json")[1]["retires_s"] >= time.time() + NINETY_DAYS_S - 60


@pytest.mark.parametrize("options", [[], ["--drop-old"]], ids=["rotate", "drop old"])
def test_a_mistyped_data_folder_has_no_keys_to_rotate(folder, options):
    settings = environment(folder, embedded=True, DATA_DIR=str(folder / "mistyped"))

    refused = _rotate_keys(settings, *options)

    assert refused.exit_code == 1
    assert f"there is no stack in {folder}/mistyped" in refused.output
    assert not (folder / "mistyped").exists()


def test_servers_need_a_file_that_every_process_reads(folder):
    settings = environment(folder, embedded=False)

    refused = _rotate_keys(settings)
    rotated = _rotate_keys(settings | {"JWT_KEYS_FILE": str(folder / "ring.json")})

    assert refused.exit_code == 2
    assert refused.output.startswith("JWT_KEYS_FILE: ")
    assert rotated.exit_code == 0
    assert len(_kept(folder / "ring.json")) == 2


def test_without_a_database_to_ask_an_old_key_lives_as_long_as_any_token_can(folder):
    settings = environment(folder, embedded=False, JWT_KEYS_FILE=str(folder / "ring.json"))

    rotated = _rotate_keys(settings)

    assert "for 90 days" in rotated.output
    assert _kept(folder / "ring.json")[1]["retires_s"] >= time.time() + REFRESH_TOKEN_SECONDS_MAX - 60


def test_a_first_ring_without_the_secret_that_signs_would_end_every_session_and_is_refused(folder):
    settings = environment(folder, embedded=False, JWT_KEYS_FILE=str(folder / "ring.json"), JWT_SECRET="")

    refused = _rotate_keys(settings)
    dropped = _rotate_keys(settings, "--drop-old")

    assert (refused.exit_code, dropped.exit_code) == (2, 0), refused.output
    assert refused.output.startswith("JWT_SECRET: ")
    assert len(_kept(folder / "ring.json")) == 1


def _in_a_thread_of_its_own(settings):
    """The command runs an event loop, and the test has one already."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_rotate_keys, settings).result()


@contextlib.contextmanager
def _serving(data_dir, *, token_seconds):
    """What `onsale up` with this lifetime leaves for other processes to see, held by another process."""
    program = (
        "import sys, signal, pathlib; from ops.embedded.folder_lock import held\n"
        f"with held(pathlib.Path(sys.argv[1]), port=1, token_seconds={token_seconds}) as hold:\n"
        "    hold.tell_serving(); print('held', flush=True); signal.pause()"
    )
    command = launcher([sys.executable, "-c", program, str(data_dir)], death_signal=signal.SIGKILL)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        yield
        holder.kill()
