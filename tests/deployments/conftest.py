"""Two servers for each test, and stores that reach them by the address that is moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from domain.background.rebuilding import rebuild
from domain.engine import Stores, open_stores
from tests.deployments.pairs import Pair, end_pair, start_pair

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from domain.platform.settings import Settings


@pytest.fixture
def pair() -> Iterator[Pair]:
    started = start_pair()
    yield started
    end_pair(started)


@pytest.fixture
def pair_settings(pair: Pair, settings: Settings) -> Settings:
    """What an acknowledged booking may not be lost by is told by PostgreSQL: the loss of Redis is none."""
    return pair.settings(settings, durability="postgres")


@pytest.fixture
async def sellers(pair: Pair, pair_settings: Settings, clean: Stores) -> AsyncIterator[Stores]:  # noqa: ARG001  (cleaned first)
    """The stores of one process that sells on the first server, which the second one replicates."""
    await pair.replicate(pair.second, of=pair.first)
    async with open_stores(pair_settings) as stores:
        await rebuild(stores)
        yield stores
