"""Streams of what is left of an event: one reading for all of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from api.reads import availability
from domain.kernel.refusals import InventoryUnavailable
from domain.platform.settings import Limit
from tests.api.callers import process_of
from tests.api.conftest import serving
from tests.api.reads.readers import STREAM, reading
from tests.factories import book, make_event
from tests.selling import promo_code, sell, ticket_type
from tests.waiting import eventually


def _path(event, query=""):
    return f"/api/v1/events/{event.id}/availability{query}"


def _left(told):
    return {item["name"]: item["remaining"] for item in told["items"]}


async def test_a_stream_tells_what_is_left_and_then_every_change(client, clean):
    event = await make_event(clean, capacity=5)
    async with reading(client, None, _path(event)) as reader:
        first = await reader.event()
        first_id = reader.last_id
        await book(clean, event, quantity=2)
        second = await reader.event()

    assert [_left(told) for told in (first, second)] == [{"General admission": 5}, {"General admission": 3}]
    assert (reader.retry_ms, first_id == reader.last_id) == (1_000, False)


async def test_the_id_of_an_event_is_the_entity_tag_of_what_it_tells(client, clean):
    event = await make_event(clean)
    async with reading(client, None, _path(event)) as reader:
        told = await reader.event()

    answer = await client.get(_path(event), headers={"If-None-Match": f'"{reader.last_id}"'})

    assert answer.status_code == 304
    assert (await client.get(_path(event))).json() == told


async def test_a_reader_that_comes_back_is_told_only_what_it_does_not_know(client, clean):
    event = await make_event(clean, capacity=5)
    async with reading(client, None, _path(event)) as reader:
        await reader.event()
    async with reading(client, None, _path(event), last_id=reader.last_id) as again:
        following = asyncio.create_task(again.event())
        await eventually(lambda: _watched(client))
        await book(clean, event)
        told = await following

    assert _left(told) == {"General admission": 4}


async def test_streams_share_one_reading_and_none_of_postgresql(client, clean, monkeypatch):
    event, stores = await make_event(clean, capacity=50), process_of(client).stores
    read, connect, read_at, connected = stores.inventory.installed, stores.database.connect, [], []

    async def noted_read(*arguments):
        read_at.append(asyncio.get_running_loop().time())
        return await read(*arguments)

    def noted_connect():
        connected.append(True)
        return connect()

    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reading(client, None, _path(event))) for _ in range(8)]
        await asyncio.gather(*(reader.event() for reader in readers))
        monkeypatch.setattr(stores.inventory, "installed", noted_read)
        monkeypatch.setattr(stores.database, "connect", noted_connect)
        await book(clean, event)
        told = await asyncio.gather(*(reader.event() for reader in readers))

    assert [_left(each) for each in told] == [{"General admission": 49}] * 8
    assert all(later - earlier >= availability.READ_EVERY_S * 0.9 for earlier, later in pairwise(read_at))
    assert connected == []


async def test_nothing_is_read_when_the_last_reader_has_left(client, clean):
    event = await make_event(clean)
    async with reading(client, None, _path(event)) as reader:
        await reader.event()
        assert await _watched(client)

    await eventually(lambda: _watched(client), is_so=lambda watched: not watched)


async def test_a_stream_with_a_code_tells_of_hidden_types(client, clean):
    event = await make_event(clean, capacity=5)
    hidden = ticket_type(event.id, "Member", hidden=True)
    await sell(clean, event, ticket_type(event.id), hidden, codes=[promo_code(event.id, "IN", unlocks_hidden=True)])
    async with (
        reading(client, None, _path(event)) as plain,
        reading(client, None, _path(event, "?promo_code=in")) as member,
    ):
        told = await plain.event(), await member.event()

    assert [sorted(_left(each)) for each in told] == [["Adult"], ["Adult", "Member"]]


async def test_a_silent_stream_says_that_it_is_there_and_ends_after_its_time(client, clean, monkeypatch):
    monkeypatch.setattr(availability, "HEARTBEAT_S", 0.05)
    monkeypatch.setattr(availability, "STREAM_S_MAX", 1.0)
    event = await make_event(clean)

    answer = await client.get(_path(event), headers={"Accept": STREAM})

    assert answer.text.count("event: availability\n") == 1
    assert ": still there\n\n" in answer.text
    assert process_of(client).offers.streams == 0


async def test_a_stream_goes_on_when_a_server_is_back(client, clean, monkeypatch):
    event = await make_event(clean, capacity=5)
    process = process_of(client)
    async with reading(client, None, _path(event)) as reader:
        await reader.event()
        away = asyncio.Event()

        async def unreachable(*_):
            away.set()
            raise InventoryUnavailable.rebuilding()

        with monkeypatch.context() as broken:
            broken.setattr(process.stores.inventory, "installed", unreachable)
            await away.wait()
        await book(clean, event)

        assert _left(await reader.event()) == {"General admission": 4}


async def test_a_process_has_a_limit_of_streams(client, clean, monkeypatch):
    monkeypatch.setattr(availability, "STREAMS_MAX", 1)
    event = await make_event(clean)
    async with reading(client, None, _path(event)) as reader:
        await reader.event()

        refused = await client.get(_path(event), headers={"Accept": STREAM})
        again = await client.get(_path(event), headers={"Accept": STREAM, "Last-Event-ID": "x"})

    assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
    assert (again.status_code, again.text) == (200, "retry: 1000\n\n")


@pytest.mark.parametrize("query", ["", "?promo_code=x"])
async def test_a_reader_that_comes_back_too_often_is_told_to_wait(clean, settings, query):
    """429 would end an EventSource for good."""
    event = await make_event(clean)
    few = {"limit_default": Limit.parse("1/60"), "limit_promo_code": Limit.parse("1/60")}
    async with serving(settings.model_copy(update=few)) as client:
        await client.get(_path(event, query))
        first = await client.get(_path(event, query), headers={"Accept": STREAM})
        again = await client.get(_path(event, query), headers={"Accept": STREAM, "Last-Event-ID": "x"})
        other = await client.get(f"/api/v1/events/{event.id}", headers={"Accept": STREAM, "Last-Event-ID": "x"})

    assert (first.status_code, other.status_code) == (429, 429)
    assert (again.status_code, again.text) == (200, f"retry: {int(first.headers['Retry-After']) * 1000}\n\n")


async def _watched(client):
    return process_of(client).offers.streams
