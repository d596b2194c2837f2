"""A Valkey with a clock that tests can set."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from ops.chaos.stack.clocks import Clock, clear_shared_memory, library
from tests.conftest import settings_on
from tests.throwaway import throwaway_servers
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from domain.platform.settings import Settings
    from ops.embedded.valkey import EmbeddedValkey

NO_LIBRARY = (
    "libfaketime's package has a library for Linux on x86-64 only; "
    "on this machine, no test runs on a server whose clock is set"
)

CLOSE_MS = 5_000
"""A clock is off by what was asked for when it is off by that within this."""


@pytest.fixture(scope="session")
def redis_clock() -> Iterator[Clock]:
    """The clock of this process' Valkey."""
    if library() is None:
        pytest.skip(NO_LIBRARY)
    with tempfile.TemporaryDirectory(prefix="onsale-test-") as folder:
        yield Clock(Path(folder) / "clock")
    clear_shared_memory()


@pytest.fixture(scope="session")
def valkey(redis_clock: Clock) -> Iterator[EmbeddedValkey]:
    """A Valkey of this process alone that goes by `redis_clock`."""
    with throwaway_servers("valkey", environment=redis_clock.variables) as servers:
        yield servers.valkey


@pytest.fixture(scope="session")
def settings(database_url: str, valkey: EmbeddedValkey) -> Settings:
    """Made anew: what all tests share must not lead to this Valkey."""
    return settings_on(database_url, valkey)


@pytest.fixture
async def set_redis_clock(clean, redis_clock):
    """Sets Redis' clock so many seconds ahead of the machine's, and returns when Redis goes by it."""

    async def set_clock(seconds):
        redis_clock.set(seconds)
        await eventually(
            clean.inventory.now_ms,
            is_so=lambda now_ms: abs(now_ms - 1000 * (time.time() + seconds)) < CLOSE_MS,
        )

    yield set_clock
    await set_clock(0)
