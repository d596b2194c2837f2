"""A start that is impossible is refused with its reason before anything is started."""

from __future__ import annotations

import json
import os
import socket
import stat

import pytest

from ops.embedded.folder_lock import AlreadyRunning, Holder, held
from ops.embedded.stack import EmbeddedStack
from ops.supervision.listener import AddressRefused, PortTaken, free_port, listen
from ops.supervision.procfile import ProcfileRefused, read_procfile
from tests.ops.stacks import environment, onsale


def test_a_second_start_says_where_the_first_one_runs(start, folder):
    stack = start(embedded=True)
    stack.wait_until_ready()

    second = onsale(["up"], environment(folder, embedded=True, PORT=str(free_port())))

    assert second.returncode == 1
    assert second.stderr.startswith("onsale: already running: ")
    assert f"process {stack.pid} " in second.stderr
    assert f"port {stack.port};" in second.stderr


def test_a_folder_is_held_by_one_process_and_free_after_it(folder):
    with held(folder, port=8000):
        with pytest.raises(AlreadyRunning) as refused, held(folder, port=None):
            pass
        assert refused.value.holder == Holder(pid=os.getpid(), port=8000)

    with held(folder, port=None):
        pass


def test_a_taken_port_is_refused_with_what_to_do_and_nothing_is_started(folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]

        refused = onsale(["up"], environment(folder, embedded=True, PORT=str(port)))

    assert refused.returncode == 1
    assert f"PORT={port + 1} make run" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (folder / "data").exists()


def test_a_port_whose_holder_goes_away_is_taken_over():
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=str(port)):
            listen("127.0.0.1", port)

    with listen("127.0.0.1", port) as second:
        assert second.getsockname()[1] == port


def test_an_address_that_is_not_ours_is_refused():
    with pytest.raises(AddressRefused, match="set HOST and PORT"):
        listen("192.0.2.1", 8000)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"PORT": "80000"}, "PORT"),
        ({"WORKER_PROCESSES": "none"}, "WORKER_PROCESSES"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "DATABASE_URL"),
        ({"JWT_SECRET": "changeme"}, "JWT_SECRET"),
    ],
)
def test_a_wrong_setting_is_named_and_its_value_is_not_shown(folder, settings, name):
    refused = onsale(["up"], environment(folder, embedded=True, **settings))

    assert refused.returncode == 2
    assert name in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "changeme" not in refused.stderr
    assert not (folder / "data").exists()


@pytest.mark.parametrize("name", ["JWT_SECRET", "JWT_KEYS_FILE"])
def test_keys_given_to_the_embedded_stack_are_refused_since_it_has_its_own(folder, name):
    refused = onsale(["up"], environment(folder, embedded=True, **{name: str(folder / "long enough to be a secret")}))

    assert refused.returncode == 2
    assert f"unset {name}: the embedded stack keeps keys of its own in DATA_DIR" in refused.stderr
    assert not (folder / "data").exists()


def test_the_secret_is_made_once_and_for_the_owner_alone(folder):
    """S1: the embedded stack's own."""
    first = EmbeddedStack(folder).environment()["JWT_SECRET"]
    second = EmbeddedStack(folder).environment()["JWT_SECRET"]

    secrets_file = folder / "secrets.json"
    assert first == second == json.loads(secrets_file.read_text())["jwt_secret"]
    assert len(first) == 64
    assert stat.S_IMODE(secrets_file.stat().st_mode) == 0o600


def test_a_procfile_that_is_none_is_refused_by_its_line(folder):
    path = folder / "Procfile"
    path.write_text("# fine\napi: python -m api\nno command\n")

    with pytest.raises(ProcfileRefused, match="'no command'"):
        read_procfile(path)
    with pytest.raises(ProcfileRefused, match="No such file"):
        read_procfile(folder / "absent")
