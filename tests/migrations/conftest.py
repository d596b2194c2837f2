"""Databases beside that of the tests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import asyncpg
import pytest
from sqlalchemy import make_url

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def empty_url(database_url: str) -> Iterator[str]:
    """A database without tables, on the server of the tests."""
    url = make_url(database_url)
    name = f"{url.database}_migrating"
    asyncio.run(_execute(database_url, f"CREATE DATABASE {name} TEMPLATE template0"))
    yield url.set(database=name).render_as_string(hide_password=False)
    asyncio.run(_execute(database_url, f"DROP DATABASE {name} WITH (FORCE)"))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
