"""Connections to the servers of a stack, past the engine."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg
from redis.asyncio import Redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import SecretStr

    from domain.platform.settings import Settings

ANSWER_SECONDS_MAX = 10.0
"""The longest wait for a server that a fault does not hold."""


@asynccontextmanager
async def redis_of(settings: Settings) -> AsyncIterator[Redis]:
    """A client of the inventory's Redis during the block."""
    async with Redis.from_url(_url(settings.redis_url), socket_timeout=ANSWER_SECONDS_MAX) as redis:
        yield redis


@asynccontextmanager
async def postgres_of(settings: Settings) -> AsyncIterator[asyncpg.Connection]:
    """A connection to PostgreSQL during the block."""
    connection = await asyncpg.connect(_url(settings.database_url), timeout=ANSWER_SECONDS_MAX)
    try:
        yield connection
    finally:
        connection.terminate()


def _url(url: SecretStr | None) -> str:
    if url is None:
        message = "the servers themselves are read: set DATABASE_URL, REDIS_URL and QUEUE_URL"
        raise ValueError(message)
    return url.get_secret_value()
