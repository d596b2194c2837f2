"""Reading a booking from its socket to its row and back takes few files, and domain/README.md lists them."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from api.app import create_app
from api.context import STATE, open_process
from api.server.connection import BoundedProtocol
from domain.accounts.accounts import AccountSession
from domain.accounts.tokens import TokenKind
from domain.kernel.partitions import partition_of_event
from tests.factories import make_account, make_event
from tests.processes import ROOT
from worker.jobs import persist_partition

STEPS_MAX = 20

_PATH = re.compile(r"`([\w/]+\.(?:py|lua))`")


def _listed():
    """The files that are steps of a booking, and the helpers of these steps."""
    page = (ROOT / "domain" / "README.md").read_text()
    text = page.partition("**Where to read it.**")[2].partition("Cancelling works the same way.")[0]
    steps, _, helpers = text.partition("They call small helpers")
    return _PATH.findall(steps), set(_PATH.findall(helpers))


@pytest.fixture
async def buyer(stores, settings):
    """A process that serves on a socket, without its background tasks, and the headers of a buyer."""
    app = create_app(settings)
    async with open_process(settings) as process:
        account = await stores.accounts.find(await make_account(stores))
        now = datetime.now(UTC)
        session = AccountSession(id=uuid4(), account_id=account.id, expires_at=now + timedelta(hours=1))
        await stores.sessions.open(account, session=session, refresh_hash=b"", password_hash=None, now=now)
        token = process.tokens.issue(TokenKind.ACCESS, account, session_id=session.id, now=now)
        app.app.app.state[STATE] = process
        async with _on_a_socket(app) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            yield client


@asynccontextmanager
async def _on_a_socket(app):
    config = uvicorn.Config(app, ws="none", log_config=None, proxy_headers=False)
    config.load()
    loop = asyncio.get_running_loop()
    async with (
        await loop.create_server(lambda: BoundedProtocol(config, ServerState(), {}), "127.0.0.1", 0) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client,
    ):
        yield client


@contextmanager
def _recorded():
    """The files of the packages that run during the block."""
    found, packages = set(), tuple(f"{ROOT / name}/" for name in ("api", "domain", "worker"))

    def note(frame, event, _):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(packages):
            found.add(name.removeprefix(f"{ROOT}/"))

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def test_the_files_of_a_booking_are_few_and_listed(stores, buyer, clean):
    steps, helpers = _listed()
    event = await make_event(stores)
    order = {"event_id": str(event.id), "quantity": 1}

    async def book(key):
        answer = await buyer.post("/api/v1/bookings", json=order, headers={"Idempotency-Key": key})
        assert answer.status_code == 202
        return answer.headers["Location"]

    async def persist():
        await persist_partition({"stores": stores, "redis": clean.queue}, partition_of_event(event.id))

    # After the first booking, the terms and the session are cached, and no wake-up is under way.
    await book("first")
    await persist()
    with _recorded() as ran:
        status = await book("second")
        await persist()
        polled = await buyer.get(status)

    assert polled.json()["status"] == "confirmed"
    missing = ran - {*steps, *helpers}
    assert not missing, ", ".join(sorted(missing))
    assert {step for step in steps if step.endswith(".py")} - ran == set()


def test_the_listed_files_exist_and_are_few():
    steps, helpers = _listed()

    assert len(steps) <= STEPS_MAX
    assert len(set(steps)) == len(steps)
    assert [path for path in (*steps, *helpers) if not (ROOT / path).is_file()] == []
