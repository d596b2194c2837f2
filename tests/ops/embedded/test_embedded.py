"""The embedded servers keep acknowledged data, in any folder and after any kind of end."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
from importlib import metadata
from pathlib import Path

import asyncpg
import pytest
from redis import Redis

from ops.embedded.binaries import BinaryMissing, mimalloc, postgres_for, postgres_major
from ops.embedded.folders import FolderRefused, folders_of, make_folders
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.server import ServerFailed
from ops.embedded.stack import EmbeddedStack
from ops.embedded.valkey import EmbeddedValkey


def ask(server: EmbeddedPostgres, query: str):
    async def run():
        connection = await asyncpg.connect(server.url())
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder in which both servers ran once, its path too long for a socket."""
    folder = tmp_path_factory.mktemp("a-folder-whose-name-makes-paths-of-sockets-in-it-longer-than-the-kernel-takes")
    with EmbeddedStack(folder, durable=False) as stack:
        yield stack
    shutil.rmtree(stack.folders.sockets)


def test_a_folder_too_long_for_sockets_has_them_elsewhere_for_its_owner_alone(made):
    sockets = made.folders.sockets

    assert not sockets.is_relative_to(made.folders.data)
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert ask(made.postgres, "SELECT 1") == 1


def test_postgres_keeps_what_it_committed_through_kill_9(made):
    ask(made.postgres, "CREATE TABLE kept AS SELECT 7 AS value")
    ask(made.postgres, "CHECKPOINT")

    made.postgres.kill()
    made.postgres.start()

    assert ask(made.postgres, "SELECT value FROM kept") == 7


def test_valkey_keeps_what_it_acknowledged_through_kill_9(made):
    with Redis.from_url(made.valkey.url()) as redis:
        redis.set("kept", "7")

    made.valkey.kill()
    made.valkey.start()

    with Redis.from_url(made.valkey.url()) as redis:
        assert redis.get("kept") == b"7"


def test_queue_and_inventory_are_two_databases(made):
    urls = made.environment()
    with Redis.from_url(urls["REDIS_URL"]) as inventory, Redis.from_url(urls["QUEUE_URL"]) as queue:
        inventory.set("here", "1")

        assert queue.get("here") is None


def test_a_started_server_is_not_started_twice(made):
    pid = made.valkey.pid

    made.valkey.start()

    assert made.valkey.pid == pid


def test_no_server_listens_on_tcp(made):
    with Redis.from_url(made.valkey.url()) as redis:
        assert redis.config_get("port") == {"port": "0"}

    assert ask(made.postgres, "SHOW listen_addresses") == ""


def test_valkey_keeps_freed_memory_at_hand_unless_its_allocator_is_set_otherwise(folder, monkeypatch):
    """Not read from a process: Valkey overwrites what /proc shows of its environment with its title."""
    valkey = EmbeddedValkey(folder, durable=False)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    ours = valkey.variables_at_start()

    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=9")
    theirs = valkey.variables_at_start()

    assert ours["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=2000"
    assert ours["PATH"] == os.environ["PATH"]
    assert theirs["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=9"


@pytest.mark.skipif(sys.platform != "linux", reason="the library is preloaded on Linux only")
def test_valkey_runs_with_mimalloc(made):
    """A test that fails here has no wheel of mimalloc for its machine, as the message of `onsale up` says."""
    maps = Path(f"/proc/{made.valkey.pid}/maps").read_text()

    assert str(mimalloc()) in maps


@pytest.mark.parametrize("theirs", ["", "/usr/lib/libjemalloc.so.2"])
def test_a_preloaded_library_of_the_caller_wins(folder, monkeypatch, theirs):
    monkeypatch.setenv("LD_PRELOAD", theirs)

    assert EmbeddedValkey(folder, durable=False).variables_at_start()["LD_PRELOAD"] == theirs


def test_without_mimalloc_valkey_uses_the_allocator_of_the_c_library(folder, monkeypatch):
    monkeypatch.delenv("LD_PRELOAD", raising=False)
    distribution = metadata.distribution

    def without_mimalloc(name):
        if name == "cmeel-mimalloc":
            raise metadata.PackageNotFoundError(name)
        return distribution(name)

    monkeypatch.setattr(metadata, "distribution", without_mimalloc)
    valkey = EmbeddedValkey(folder, durable=False)

    valkey.start()
    try:
        maps = Path(f"/proc/{valkey.pid}/maps").read_text()
    finally:
        valkey.stop()

    assert mimalloc() is None
    assert "LD_PRELOAD" not in valkey.variables_at_start()
    assert "mimalloc" not in maps


def test_the_real_thing_is_durable(folder):
    stack = EmbeddedStack(folder)

    assert stack.valkey.command()[stack.valkey.command().index("--appendfsync") + 1] == "always"
    assert "--synchronous_commit=on" in stack.postgres.command()
    assert not [option for option in stack.postgres.command() if "fsync=off" in str(option)]


def test_a_new_folder_gets_text_in_unicode(made):
    assert ask(made.postgres, "SHOW server_encoding") == "UTF8"
    assert ask(made.postgres, "SELECT lower('ÄΩ')") == "äω"
    assert ask(made.postgres, "SHOW data_checksums") == "on"


def test_a_folder_is_served_by_the_version_that_made_it(folder):
    newest = postgres_major(postgres_for(folder))
    (folder / "PG_VERSION").write_text("16\n")
    assert postgres_major(postgres_for(folder)) == 16 < newest

    (folder / "PG_VERSION").write_text("9\n")
    with pytest.raises(BinaryMissing, match="was made by PostgreSQL 9"):
        postgres_for(folder)


def test_an_older_version_can_be_embedded_too(folder, monkeypatch):
    (folder / "PG_VERSION").write_text("16\n")
    older = postgres_for(folder)
    monkeypatch.setattr("ops.embedded.postgres.postgres_for", lambda _pgdata: older)
    server = EmbeddedPostgres(folder / "data", durable=False)

    server.start()

    try:
        assert ask(server, "SHOW server_version").startswith("16.")
    finally:
        server.kill()


def test_sockets_in_a_folder_open_to_others_are_refused(folder):
    folders = folders_of(folder / "data")
    make_folders(folders)
    folders.sockets.chmod(0o755)

    with pytest.raises(FolderRefused, match="mode 0700"):
        EmbeddedValkey(folder / "data").start()


def test_a_server_that_cannot_start_says_why(folder):
    server = EmbeddedValkey(folder, durable=False)
    server.start()
    server.stop()
    aof = next((folder / "valkey" / "appendonlydir").glob("*.incr.aof"))
    aof.write_text("this is no append-only file\r\n" * 10)

    with pytest.raises(ServerFailed, match="Bad file format"):
        server.start()


def test_an_interrupted_first_start_is_begun_again(folder):
    unfinished = folder / "postgres.new"
    unfinished.mkdir()
    (unfinished / "half").write_text("of it")
    server = EmbeddedPostgres(folder, durable=False)

    server.start()

    try:
        assert ask(server, "SELECT current_user") == "onsale"
        assert not unfinished.exists()
    finally:
        server.kill()
