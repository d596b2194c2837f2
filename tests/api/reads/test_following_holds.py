"""Following a hold: long polls, streams and entity tags, up to its deadline."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest

from domain.actions import waiting
from domain.background.persisting import expire
from domain.kernel.partitions import partition_of_event
from domain.kernel.times import to_ms
from tests.api.reads.readers import STREAM, reading
from tests.factories import hold, make_due, make_event
from tests.waiting import persist_all


@pytest.fixture
async def sale(callers, clean):
    """An event, and a buyer."""
    return await make_event(clean), await callers.attendee()


async def _hold(stores, event, buyer, **fields):
    held = await hold(stores, event, user_id=UUID(buyer.id), **fields)
    return held, f"/api/v1/bookings/{held.id}/status"


async def test_a_wait_for_a_hold_ends_at_its_deadline(clean, sale, monkeypatch):
    """Without a look at the deadline, it would look a second time in a day."""
    monkeypatch.setattr(waiting, "LONGER", 1e9)
    monkeypatch.setattr(waiting, "HELD_PAUSE_S_MAX", 86_400.0)
    event, buyer = sale
    held, path = await _hold(clean, event, buyer, hold_ms=700)

    answer = await buyer.get(path, headers={"Prefer": "wait=30"})

    assert (answer.status_code, answer.json()["status"]) == (200, "expired")
    assert answer.headers["Preference-Applied"] == "wait=30"
    assert int(answer.headers["Onsale-Time"]) >= to_ms(held.due_at)


async def test_a_wait_for_a_hold_ends_when_it_is_confirmed(clean, sale):
    event, buyer = sale
    held, path = await _hold(clean, event, buyer)
    waited = asyncio.create_task(buyer.get(path, headers={"Prefer": "wait=30"}))

    await clean.box_office.confirm(held.id)

    assert (await waited).json()["status"] in {"pending", "confirmed"}


async def test_a_wait_for_a_hold_ends_when_it_is_extended(clean, sale):
    event, buyer = sale
    held, path = await _hold(clean, event, buyer)
    etag = (await buyer.get(path)).headers["ETag"]
    waited = asyncio.create_task(buyer.get(path, headers={"Prefer": "wait=30", "If-None-Match": etag}))

    await clean.box_office.extend(held.id, hold_ms=90_000, cap_ms=180_000)

    answer = await waited
    assert (answer.status_code, answer.json()["status"]) == (200, "held")
    assert answer.json()["expires_at"] > held.due_at.isoformat()


async def test_a_wait_for_a_hold_ends_after_its_time(clean, sale):
    event, buyer = sale
    _, path = await _hold(clean, event, buyer)
    etag = (await buyer.get(path)).headers["ETag"]

    answer = await buyer.get(path, headers={"Prefer": "wait=1"})
    unchanged = await buyer.get(path, headers={"Prefer": "wait=1", "If-None-Match": etag})

    assert (answer.status_code, answer.json()["status"], answer.headers["Retry-After"]) == (200, "held", "1")
    assert (unchanged.status_code, unchanged.headers["ETag"]) == (304, etag)


async def test_the_tag_of_a_hold_stays_until_it_changes(clean, sale):
    event, buyer = sale
    held, path = await _hold(clean, event, buyer)
    etag = (await buyer.get(path)).headers["ETag"]
    same = {"If-None-Match": etag}

    await persist_all(clean)
    persisted = await buyer.get(path, headers=same)
    await make_due(clean, held)
    due = await buyer.get(path, headers=same)
    await expire(clean, partition_of_event(event.id))
    await persist_all(clean)
    ended = await buyer.get(path, headers={"If-None-Match": due.headers["ETag"]})

    assert persisted.status_code == 304
    assert (due.status_code, due.json()["status"]) == (200, "expired")
    assert ended.status_code == 304


async def test_a_stream_tells_that_a_hold_has_expired_and_ends(client, clean, sale):
    event, buyer = sale
    held, path = await _hold(clean, event, buyer)
    async with reading(client, buyer, path) as reader:
        first = await reader.event()
        await make_due(clean, held)
        second = await reader.event()
        end = await reader.event()

    again = await buyer.get(path, headers={"Accept": STREAM, "Last-Event-ID": reader.last_id})

    assert [told["status"] for told in (first, second)] == ["held", "expired"]
    assert end is None
    assert again.status_code == 204


async def test_a_stream_tells_every_step_of_a_hold_that_is_paid(client, clean, sale):
    event, buyer = sale
    held, path = await _hold(clean, event, buyer)
    async with reading(client, buyer, path) as reader:
        steps = [(await reader.event())["status"]]
        await clean.box_office.confirm(held.id)
        steps.append((await reader.event())["status"])
        await persist_all(clean)
        steps.append((await reader.event())["status"])

    assert steps == ["held", "pending", "confirmed"]
