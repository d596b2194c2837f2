"""`onsale rotate-keys`, as an operator types it."""

from __future__ import annotations

import json
import stat

from click.testing import CliRunner

from ops.cli import main
from ops.embedded import EmbeddedStack
from tests.ops.stacks import environment


def _rotate_keys(settings, *options):
    return CliRunner().invoke(main, ["rotate-keys", *options], env=settings)


def test_the_embedded_stacks_own_secret_is_rotated(folder):
    """S3: its first key is the secret it made for itself (S1)."""
    settings = environment(folder, embedded=True)

    first = _rotate_keys(settings)
    second = _rotate_keys(settings)

    stack = EmbeddedStack(folder / "data").environment()
    file = folder / "data" / "keys.json"
    kept = json.loads(file.read_text())["keys"]
    assert (first.exit_code, second.exit_code) == (0, 0), first.output
    assert stack["JWT_KEYS_FILE"] == str(file.resolve())
    assert [key["secret"] for key in kept][-1] == stack["JWT_SECRET"]
    assert [first.output.count("is accepted until"), second.output.count("is accepted until")] == [1, 2]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [key for key in kept if key["secret"] in first.output + second.output]


def test_after_a_leak_the_old_keys_are_dropped(folder):
    settings = environment(folder, embedded=True)
    _rotate_keys(settings)

    dropped = _rotate_keys(settings, "--drop-old")

    assert dropped.exit_code == 0
    assert len(json.loads((folder / "data" / "keys.json").read_text())["keys"]) == 1


def test_servers_need_a_file_that_every_process_reads(folder):
    settings = environment(folder, embedded=False)

    refused = _rotate_keys(settings)
    rotated = _rotate_keys(settings | {"JWT_KEYS_FILE": str(folder / "ring.json")})

    assert refused.exit_code == 2
    assert refused.output.startswith("JWT_KEYS_FILE: ")
    assert rotated.exit_code == 0
    assert len(json.loads((folder / "ring.json").read_text())["keys"]) == 2
