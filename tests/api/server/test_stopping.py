"""An API process stops in good order: readiness changes first, and no request is lost."""

from __future__ import annotations

import asyncio
import signal

import httpx
import psutil
import pytest

from tests.api.server.wires import Wire, request
from tests.waiting import eventually

CLIENTS = 8

LONG = "30"
"""A delay that no test waits for."""


async def test_a_process_that_is_told_to_end_is_unready_and_goes_on_serving(clean, processes, callers):  # noqa: ARG001
    api = processes.api(RATE_LIMITS="off", SHUTDOWN_DELAY_SECONDS=LONG)
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        assert "Connection" not in (await client.get("/health/live")).headers

        api.signal(signal.SIGTERM)
        ready = await eventually(
            lambda: client.get("/health/ready"), is_so=lambda answer: answer.json()["status"] == "stopping"
        )
        live = await client.get("/health/live")
        booked = await buyer.through(client).book(event["id"])

    assert (ready.status_code, live.status_code, booked.status_code) == (503, 200, 202)
    assert {answer.headers["Connection"] for answer in (ready, live, booked)} == {"close"}


@pytest.mark.parametrize("last", [signal.SIGTERM, signal.SIGINT])
async def test_a_process_that_is_told_to_end_twice_ends_at_once(clean, processes, last):  # noqa: ARG001
    api = processes.api(SHUTDOWN_DELAY_SECONDS="60")
    api.signal(signal.SIGTERM)
    await eventually(lambda: _stopping(api))

    api.signal(last)

    await eventually(lambda: asyncio.to_thread(_ended, api))


async def test_a_process_whose_stack_ends_does_not_wait(clean, processes):  # noqa: ARG001
    api = processes.api(SHUTDOWN_DELAY_SECONDS="60")

    api.signal(signal.SIGINT)

    await eventually(lambda: asyncio.to_thread(_ended, api))
    assert "Traceback" not in api.output


async def _stopping(api):
    async with httpx.AsyncClient(base_url=api.url, timeout=30) as client:
        return (await client.get("/health/ready")).json()["status"] == "stopping"


def _ended(api):
    return api.poll() is not None


@pytest.mark.parametrize("waiting", ["poll", "stream"])
async def test_who_waits_for_a_change_does_not_hold_up_the_end(clean, processes, callers, waiting):  # noqa: ARG001
    """A long poll is answered with what is known, a stream ends and its reader comes back to another process."""
    api = processes.api(SHUTDOWN_DELAY_SECONDS="0")
    event = await (await callers.organizer()).make_event()
    buyer = await callers.attendee()
    path = (await buyer.book(event["id"])).headers["Location"]
    headers = {"poll": {"Prefer": "wait=30"}, "stream": {"Accept": "text/event-stream"}}[waiting]
    async with httpx.AsyncClient(base_url=api.url, timeout=60) as client:
        asking = asyncio.create_task(buyer.through(client).get(path, headers=headers))
        await eventually(lambda: _under_way(api))

        api.signal(signal.SIGTERM)
        answer = await asyncio.wait_for(asking, 20)

    assert answer.status_code == 200
    assert "pending" in answer.text


async def _under_way(api):
    """Whether the process has accepted a connection."""
    connections = psutil.Process(api.pid).net_connections()
    return [each for each in connections if each.status == "ESTABLISHED" and each.laddr.port == _port(api)]


async def test_no_request_is_lost_in_a_rolling_restart(clean, processes):  # noqa: ARG001  (clean servers)
    """Clients that keep their connections ask without a pause, and go to the other process when told to."""
    first, second = processes.api(RATE_LIMITS="off", SHUTDOWN_DELAY_SECONDS="2"), processes.api(RATE_LIMITS="off")
    answered = [0] * CLIENTS

    async def ask_until_told_to_leave(number, api):
        wire, elsewhere = Wire(_port(api)), Wire(_port(second))
        reply = None
        while reply is None or reply.headers.get("connection") != "close":
            reply = await wire.ask(request("GET", "/api/v1/events"))
            assert reply.status == 200
            answered[number] += 1
        try:
            return await elsewhere.ask(request("GET", "/api/v1/events"))
        finally:
            elsewhere.close()

    asking = [asyncio.create_task(ask_until_told_to_leave(number, first)) for number in range(CLIENTS)]
    await eventually(lambda: _least(answered), is_so=lambda least: least >= 20)
    first.signal(signal.SIGTERM)
    replies = await asyncio.gather(*asking)

    assert {reply.status for reply in replies} == {200}
    assert await asyncio.to_thread(first.wait, 30) == -signal.SIGTERM


async def _least(counts):
    return min(counts)


def _port(api):
    return httpx.URL(api.url).port
