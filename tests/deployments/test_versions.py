"""Versions beside each other on the same servers: nothing acknowledged is lost, and sales go on."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from urllib.error import HTTPError

import pytest
from sqlalchemy import text

from domain.accounts.accounts import Role
from domain.background.rebuilding import rebuild
from domain.store.redis.fence import LAYOUT
from ops.evidence.bulk import mint
from tests.deployments import releases
from tests.deployments.crowd import Crowd, buying_at
from tests.deployments.holders import holding_at
from tests.factories import make_event
from tests.processes import ROOT
from tests.waiting import eventually

BUYERS = 4
EVENTS = 30
CAPACITY = 10_000

REFUSED_SHARE_MAX = 0.01
REFUSED_S_MAX = 5.0
"""How long after a version came or went a 503 may still be answered."""

SOLD_EACH = 60
"""Bookings that each process sells beside the others."""

SOLD_ALONE = 300
"""Bookings that are sold by the version that stays."""


@pytest.fixture(scope="session")
def previous(tmp_path_factory):
    """The code of the release before this one."""
    try:
        return releases.previous_release(tmp_path_factory.mktemp("previous"))
    except releases.NoHistory as missing:
        pytest.fail(str(missing))


class Version:
    """An API process and a worker of one version."""

    def __init__(self, processes, root):
        self.worker = processes.worker(root)
        self.api = processes.api(root, RATE_LIMITS="off")
        self.url = self.api.url

    def end(self):
        self.api.stop()
        self.worker.stop()


async def start(processes, root):
    return await asyncio.to_thread(Version, processes, root)


@pytest.fixture
async def crowd(stores, settings):
    """Buyers and their event, from before any version runs."""
    events = [await make_event(stores, capacity=CAPACITY) for _ in range(EVENTS)]
    return Crowd(await mint(settings, role=Role.ATTENDEE, count=BUYERS), events)


def ready(version):
    """What readiness answers."""
    try:
        with urllib.request.urlopen(f"{version.url}/health/ready") as response:
            return json.load(response)
    except HTTPError as answer:
        with answer:
            return json.load(answer)


async def until_ready(version):
    await eventually(lambda: asyncio.to_thread(ready, version), is_so=lambda found: found["status"] == "ready")


async def test_this_release_takes_over_from_the_previous_one(stores, crowd, processes, previous):
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE inventory_epoch SET layout = 1"))
    before = await start(processes, previous)
    await until_ready(before)

    async with buying_at(stores, crowd, before.url):
        await crowd.until_sold(SOLD_ALONE, before.url)
        after = await start(processes, ROOT)
        began_s = time.monotonic()
        crowd.urls = [after.url]
        await crowd.until_sold(1, after.url)
        assert time.monotonic() - began_s < REFUSED_S_MAX
        await crowd.until_sold(SOLD_ALONE, after.url)
        found = await asyncio.to_thread(ready, before)
        assert found["status"] != "ready"


@pytest.mark.parametrize("script", ["reserve_tickets", "check_partition"])
async def test_a_version_with_another_text_sells_in_the_same_epoch(stores, crowd, processes, tmp_path, script):
    file = f"domain/store/redis/lua/{script}.lua"
    other = releases.changed_build(tmp_path, {file: ("\n-- KEYS", "\n-- Said in other words.\n-- KEYS")})
    before = await start(processes, ROOT)
    await until_ready(before)
    epoch = await stores.epochs.current()

    async with buying_at(stores, crowd, before.url):
        after = await start(processes, other)
        crowd.urls.append(after.url)
        await crowd.until_sold(SOLD_EACH, *crowd.urls)
        crowd.urls = [after.url]
        await asyncio.to_thread(before.end)
        await crowd.until_sold(SOLD_EACH, after.url)

    assert crowd.refused_s == []
    assert await stores.epochs.current() == epoch


async def test_versions_with_other_texts_keep_the_same_holds(stores, crowd, processes, tmp_path):
    """The worker of each persists and expires holds of the other."""
    file = "domain/store/redis/lua/confirm_hold.lua"
    other = releases.changed_build(tmp_path / "build", {file: ("\n-- KEYS", "\n-- Said in other words.\n-- KEYS")})
    before = await start(processes, ROOT)
    await until_ready(before)
    epoch = await stores.epochs.current()

    async with buying_at(stores, crowd, before.url), holding_at(stores, crowd, crowd.events[:2], tmp_path) as holders:
        await holders.until_answered()
        after = await start(processes, other)
        crowd.urls.append(after.url)
        await holders.until_answered()
        crowd.urls = [after.url]
        await asyncio.to_thread(before.end)
        await holders.until_answered()

    assert await stores.epochs.current() == epoch


async def test_a_version_of_a_higher_layout_takes_over(stores, crowd, processes, tmp_path):
    higher = releases.changed_build(
        tmp_path, {"domain/store/redis/fence.py": (f"\nLAYOUT = {LAYOUT}\n", f"\nLAYOUT = {LAYOUT + 1}\n")}
    )
    before = await start(processes, ROOT)
    await until_ready(before)
    try:
        async with buying_at(stores, crowd, before.url):
            await crowd.until_sold(SOLD_EACH, before.url)
            after = await start(processes, higher)
            began_s = time.monotonic()
            crowd.urls = [after.url]
            await crowd.until_sold(1, after.url)
            assert time.monotonic() - began_s < REFUSED_S_MAX
            await crowd.until_sold(SOLD_EACH, after.url)
            assert "later layout" in (await asyncio.to_thread(ready, before))["inventory"]
            assert (await asyncio.to_thread(ready, after))["inventory"] == "ok"
            await asyncio.to_thread(before.end)
            await asyncio.to_thread(after.end)
            # What is left to persist has the same keys in both; the books are read by this version.
            crowd.urls = []
            await lower(stores)
    finally:
        await lower(stores)


async def lower(stores):
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE inventory_epoch SET layout = :layout"), {"layout": LAYOUT})
    await rebuild(stores)
