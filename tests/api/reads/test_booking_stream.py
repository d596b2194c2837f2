"""A booking's server-sent events: event ids, reconnecting, the end of the stream."""

from __future__ import annotations

import asyncio

import pytest

from domain.platform.settings import Limit
from tests.api.conftest import serving
from tests.api.reads.readers import STREAM, reading
from tests.waiting import persist_all

SHOP = "https://shop.example.org"


@pytest.fixture
async def sale(callers):
    """A buyer, and where a booking of his is followed; nothing persists it by itself."""
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    return buyer, (await buyer.book(event["id"])).headers["Location"]


async def _follow(buyer, path, *, last_id=None, **headers):
    if last_id:
        headers["Last-Event-ID"] = last_id
    return await buyer.get(path, headers={"Accept": STREAM} | headers)


def _ids(answer):
    return [line[4:] for line in answer.text.splitlines() if line.startswith("id: ")]


async def test_every_state_has_an_id_of_its_own(client, clean, sale):
    buyer, path = sale
    ids = []
    async with reading(client, buyer, path) as reader:
        pending = await reader.event()
        ids.append(reader.last_id)
        await persist_all(clean)
        confirmed = await reader.event()
        ids.append(reader.last_id)
    await buyer.delete(path.removesuffix("/status"))
    ids += _ids(await _follow(buyer, path))

    assert (pending["status"], confirmed["status"]) == ("pending", "confirmed")
    assert len(set(ids)) == 3
    assert reader.retry_ms == 1_000


async def test_a_reader_that_knows_the_end_is_told_to_stop(clean, sale):
    """204 ends an EventSource (HTML, 9.2.3); anything else would bring it back for ever."""
    buyer, path = sale
    await persist_all(clean)
    (last_id,) = _ids(await _follow(buyer, path))

    known = await _follow(buyer, path, last_id=last_id)
    elsewhere = await _follow(buyer, path, last_id=last_id, Origin=SHOP)
    other = await _follow(buyer, path, last_id="v1.pending")

    assert [(each.status_code, each.content) for each in (known, elsewhere)] == [(204, b"")] * 2
    assert _ids(other) == [last_id]


async def test_a_cancelled_booking_is_news_to_a_reader_of_the_confirmed_one(clean, sale):
    buyer, path = sale
    await persist_all(clean)
    (last_id,) = _ids(await _follow(buyer, path))
    await buyer.delete(path.removesuffix("/status"))

    answer = await _follow(buyer, path, last_id=last_id)

    assert answer.status_code == 200
    assert len(_ids(answer)) == 1


async def test_a_reader_that_comes_back_is_told_only_what_it_does_not_know(client, clean, sale):
    buyer, path = sale
    async with reading(client, buyer, path) as reader:
        await reader.event()
    async with reading(client, buyer, path, last_id=reader.last_id) as again:
        following = asyncio.create_task(again.event())
        await persist_all(clean)
        told = await following

    assert told["status"] == "confirmed"


async def test_pages_of_named_origins_may_say_where_they_left_off(clean, unlimited):  # noqa: ARG001  (clean servers)
    headers = {
        "Origin": SHOP,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, last-event-id",
    }
    async with serving(unlimited.model_copy(update={"cors_origins": (SHOP,)})) as client:
        answer = await client.options("/api/v1/bookings/x/status", headers=headers)

    assert answer.status_code == 204
    assert "last-event-id" in answer.headers["Access-Control-Allow-Headers"].lower()


@pytest.mark.parametrize("origin", [{}, {"Origin": SHOP}])
async def test_a_reader_that_comes_back_too_often_is_told_to_wait(clean, settings, sale, origin):  # noqa: ARG001
    """429 would end an EventSource for good."""
    buyer, path = sale
    few = settings.model_copy(update={"limit_default": Limit.parse("1/60")})
    async with serving(few) as client:
        there = buyer.through(client)
        await there.get(path)
        first = await _follow(there, path, **origin)
        again = await _follow(there, path, last_id="v1.pending", **origin)
        poll = await there.get(path, headers={"Last-Event-ID": "v1.pending"})
        order = await there.post("/api/v1/bookings", {}, headers={"Last-Event-ID": "1", "Accept": STREAM})

    assert (first.status_code, poll.status_code, order.status_code) == (429, 429, 429)
    assert (again.status_code, again.headers["Content-Type"].partition(";")[0]) == (200, STREAM)
    assert again.text == f"retry: {int(first.headers['Retry-After']) * 1000}\n\n"
    assert "Retry-After" in again.headers


@pytest.mark.parametrize("origin", [{}, {"Origin": SHOP}])
async def test_a_reader_that_comes_back_while_a_server_is_away_is_told_to_wait(client, clean, sale, origin):  # noqa: ARG001
    buyer, path = sale
    await _break_inventory(clean)

    first = await _follow(buyer, path, **origin)
    again = await _follow(buyer, path, last_id="v1.pending", **origin)

    assert first.status_code == 503
    assert (again.status_code, again.text) == (200, "retry: 1000\n\n")


async def _break_inventory(stores):
    """Leave Redis without the scripts of any epoch, as a restart does."""
    await stores.pipeline.redis.script_flush()


@pytest.mark.parametrize("origin", [{}, {"Origin": SHOP}])
async def test_a_reader_that_comes_back_without_a_session_is_refused(sale, origin):
    """The reader has to get a token, and to come back with that."""
    buyer, path = sale
    await buyer.post("/api/v1/auth/logout")

    answer = await _follow(buyer, path, last_id="v1.pending", **origin)

    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_stream_whose_server_goes_away_ends_with_a_time_to_come_back(client, clean, sale):
    buyer, path = sale
    async with reading(client, buyer, path) as reader:
        await reader.event()
        await _break_inventory(clean)

        assert await reader.event() is None

    assert reader.retry_ms == 1_000
