"""The API as clients see it: the real application on real servers, called in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import httpx
import pytest

from api.app import create_app
from domain.accounts import passwords
from tests.api.callers import Callers
from tests.contract.documented import faults_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from litestar.types import ASGIApp

    from domain.platform.settings import Settings

BASE_URL = "http://onsale.test"

IDLE_MAX = 4
"""Applications that wait for another test: of two settings, two processes each."""

_idle: list[tuple[Settings, ASGIApp]] = []


@contextmanager
def application(settings: Settings) -> Iterator[ASGIApp]:
    """An application with these settings, built once for many tests: it has no state outside its lifespan."""
    app = next((app for built_with, app in _idle if built_with == settings), None)
    if app is None:
        app = create_app(settings)
    else:
        _idle.remove((settings, app))
    yield app
    _idle.append((settings, app))
    del _idle[:-IDLE_MAX]


@asynccontextmanager
async def started(app: ASGIApp) -> AsyncIterator[None]:
    """The application between its startup and its shutdown, as a server runs it."""
    to_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    from_app: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    running = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}}, to_app.get, from_app.put))
    await to_app.put({"type": "lifespan.startup"})
    assert (await from_app.get())["type"] == "lifespan.startup.complete"
    try:
        yield
    finally:
        await to_app.put({"type": "lifespan.shutdown"})
        assert (await from_app.get())["type"] == "lifespan.shutdown.complete"
        await running


@asynccontextmanager
async def serving(settings: Settings, **transport: object) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API process of its own."""
    with application(settings) as app:
        client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app, **transport),
            base_url=BASE_URL,
            event_hooks={"response": [_check_is_documented]},
        )
        async with started(app), client:
            yield client


async def _check_is_documented(answer: httpx.Response) -> None:
    """Every answer in every test of the API is one that the OpenAPI document has: status, header fields, body."""
    await answer.aread()

    assert faults_of(answer) == []


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords at the lowest cost: at the real one, logging in takes most of a test's time."""
    monkeypatch.setattr(passwords, "MEMORY_KIB", 8)
    monkeypatch.setattr(passwords, "PASSES", 1)


@pytest.fixture
def unlimited(settings: Settings) -> Settings:
    """Settings without rate limits, for tests that are about something else."""
    return settings.model_copy(update={"rate_limits": "off"})


@pytest.fixture
async def client(clean, unlimited):  # noqa: ARG001  (clean servers)
    """A client of one API process."""
    async with serving(unlimited) as client:
        yield client


@pytest.fixture
async def other_client(clean, unlimited):  # noqa: ARG001  (clean servers)
    """A client of a second API process on the same servers."""
    async with serving(unlimited) as client:
        yield client


@pytest.fixture
async def limited_client(clean, settings):  # noqa: ARG001  (clean servers)
    """A client of an API process with the limits that deployments have."""
    async with serving(settings) as client:
        yield client


@pytest.fixture
def callers(client, clean):
    """Makes accounts and logs them in."""
    return Callers(client, clean)
