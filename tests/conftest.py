"""One PostgreSQL for the run; a database, a Valkey and a fork server for each process of the run."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import secrets
import signal
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from sqlalchemy import text

from domain.background.rebuilding import rebuild
from domain.engine import Stores, open_stores
from domain.platform.settings import Settings
from ops.embedded.valkey import INVENTORY_DATABASE, QUEUE_DATABASE, EmbeddedValkey
from ops.supervision.launcher import PR_SET_PDEATHSIG
from tests.browser.chromium import INSTALL
from tests.cluster import Cluster
from tests.fork_server import ForkServer
from tests.processes import ROOT, Processes
from tests.throwaway import throwaway_servers
from tests.waiting import keep_persisting

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

JWT_SECRET = secrets.token_hex(32)

KEPT_TABLES = ("alembic_version", "inventory_epoch")
"""What `clean` leaves: the schema's version, and the epoch, which only ever grows."""

_EMPTY_TABLES = text(
    f"""
    DO $$ DECLARE name text; BEGIN
        SET LOCAL session_replication_role = replica;
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename NOT IN {KEPT_TABLES}
        LOOP EXECUTE format('DELETE FROM %I', name); END LOOP;
    END $$
    """
)
"""Deleting few rows is ten times faster than truncating; as a replica, tables go in any order."""

_cluster = pytest.StashKey[Cluster]()


def pytest_configure(config: pytest.Config) -> None:
    """One of several processes ends at once when the one that directs them does, and what it started with it."""
    if hasattr(config, "workerinput"):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """With several processes, the one that directs them starts PostgreSQL and tells them where it is."""
    node.workerinput["cluster_url"] = _started_cluster(node.config).admin_url


def pytest_collection_finish() -> None:
    """What is imported by now stays: looking through it for garbage takes a tenth of a second each time.

    On a busy machine that pause is long enough for PostgreSQL to take a transaction for abandoned.
    """
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say why the tests of the pages were skipped, and what to install."""
    if any(INSTALL in str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())):
        terminalreporter.write_line(f"The tests of the pages were skipped: {INSTALL}.")


def pytest_unconfigure(config: pytest.Config) -> None:
    if _cluster in config.stash:
        config.stash[_cluster].stop()


def _started_cluster(config: pytest.Config) -> Cluster:
    if _cluster not in config.stash:
        config.stash[_cluster] = Cluster.start()
    return config.stash[_cluster]


@pytest.fixture(scope="session")
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A migrated database of this process alone."""
    workerinput = getattr(request.config, "workerinput", None)
    cluster = Cluster(workerinput["cluster_url"]) if workerinput else _started_cluster(request.config)
    with cluster.database() as url:
        yield url


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    """A Valkey of this process alone: tests flush it, empty its script cache and restart it."""
    with throwaway_servers("valkey") as servers:
        yield servers.valkey


@pytest.fixture(scope="session")
def settings(database_url: str, valkey: EmbeddedValkey) -> Settings:
    """Settings that lead to this process' servers; the environment has no part in them."""
    return settings_on(database_url, valkey)


def settings_on(database_url: str, valkey: EmbeddedValkey) -> Settings:
    """Settings that lead to these servers."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(valkey.url(INVENTORY_DATABASE)),
        queue_url=SecretStr(valkey.url(QUEUE_DATABASE)),
        jwt_secret=SecretStr(JWT_SECRET),
        # No test cuts the power; syncing each write would make every one wait for the disk.
        redis_sync="any",
    )


@pytest.fixture
async def clean(settings: Settings, valkey: EmbeddedValkey) -> AsyncIterator[Stores]:
    """Empty servers that sell in a new epoch."""
    valkey.start()
    await _flush(valkey)
    async with open_stores(settings) as stores:
        await _empty_tables(stores)
        await rebuild(stores)
        yield stores


@pytest.fixture
def stores(clean: Stores) -> Stores:
    """The stores of one process, on clean servers."""
    return clean


@pytest.fixture
async def other_stores(clean: Stores, settings: Settings) -> AsyncIterator[Stores]:  # noqa: ARG001  (cleaned first)
    """The stores of a second process on the same servers, with caches and an idea of the epoch of its own."""
    async with open_stores(settings) as stores:
        await stores.scripts.refresh()
        yield stores


@pytest.fixture
async def worker(stores: Stores) -> AsyncIterator[asyncio.Task[None]]:
    """A persist loop in this process, over every partition."""
    async with _background(keep_persisting(stores)) as task:
        yield task


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """What API and worker processes are forked from."""
    with ForkServer(ROOT) as started:
        yield started


@pytest.fixture
def processes(settings: Settings, fork_server: ForkServer) -> Iterator[Processes]:
    """Starts real API and worker processes; whatever the test does, they are gone after it."""
    with Processes(settings, fork_server) as started:
        yield started


async def _flush(valkey: EmbeddedValkey) -> None:
    async with Redis.from_url(valkey.url()) as redis:
        await redis.flushall()
        await redis.script_flush()


async def _empty_tables(stores: Stores) -> None:
    async with stores.database.begin() as connection:
        await connection.execute(_EMPTY_TABLES)


@asynccontextmanager
async def _background(coroutine: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
