"""Cost of 200 logins at once for bookings, the event loop and the API's memory."""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from domain.accounts.accounts import Role
from loadtests.sales.figures import times_of
from loadtests.sales.profiles import SaleProfile
from loadtests.sales.setup import create_event
from loadtests.sales.stack import sale_stack
from ops.evidence.bulk import mint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from ops.embedded.running import RunningStack
    from ops.evidence.bulk import Minted

LOGINS = 200

EVENT = SaleProfile(name="logins", title="Logins", tickets=100_000, max_per_user=8, arrivals=())

SECONDS = 10.0
"""Duration of each half: first without logins, then with waves of them."""

PAUSE_S = 0.01
"""Between two bookings, and between two probes of the event loop."""

ANSWER_S_MAX = 60


def main() -> None:
    """Run from the command line and print a table."""
    with tempfile.TemporaryDirectory(prefix="onsale-passwords-") as name, sale_stack(Path(name)) as stack:
        asyncio.run(_measure(stack))


async def _measure(stack: RunningStack) -> None:
    settings = stack.settings()
    buyers = await mint(settings, role=Role.ATTENDEE, count=LOGINS)
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    event_id = create_event(stack.url, token=organizer.token, profile=EVENT)
    loop = asyncio.get_running_loop()
    # In a process of their own: on this event loop, the 200 callers would delay what is measured.
    crowds = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    async with httpx.AsyncClient(base_url=f"{stack.url}/api/v1", timeout=ANSWER_S_MAX) as client:
        print(f"{'':<16}{'booking p99 ms':>16}{'loop p99 ms':>14}{'memory MiB':>12}  logins")
        for what, crowd in (("without logins", []), ("with 200 logins", buyers)):
            until_s = time.monotonic() + SECONDS
            booked, waited, statuses = await asyncio.gather(
                _timed(lambda: _book(client, buyers[0], event_id), until_s),
                _timed(lambda: client.get(f"{stack.url}/health/live"), until_s),
                loop.run_in_executor(crowds, _log_in_again_and_again, stack.url, crowd),
            )
            p99s = times_of(booked).p99_ms, times_of(waited).p99_ms
            print(
                f"{what:<16}{p99s[0]:>16.1f}{p99s[1]:>14.1f}{stack.rss_bytes()['api'] / 2**20:>12.0f}  {dict(statuses)}"
            )


async def _book(client: httpx.AsyncClient, buyer: Minted, event_id: UUID) -> httpx.Response:
    """Book, or be refused for the limit: the same path except for its end."""
    headers = {"Authorization": f"Bearer {buyer.token}"}
    return await client.post("/bookings", json={"event_id": str(event_id)}, headers=headers)


async def _timed(ask: Callable[[], Awaitable[httpx.Response]], until_s: float) -> list[float]:
    took_ms = []
    while time.monotonic() < until_s:
        began_s = time.perf_counter()
        await ask()
        took_ms.append((time.perf_counter() - began_s) * 1000)
        await asyncio.sleep(PAUSE_S)
    return took_ms


def _log_in_again_and_again(url: str, crowd: list[Minted]) -> Counter[int]:
    """Log the whole crowd in at once, and again when all were answered; returns the statuses."""
    return asyncio.run(_waves(url, crowd))


async def _waves(url: str, crowd: list[Minted]) -> Counter[int]:
    statuses: Counter[int] = Counter()
    until_s = time.monotonic() + SECONDS - 2
    limits = httpx.Limits(max_connections=LOGINS, max_keepalive_connections=LOGINS)
    async with httpx.AsyncClient(base_url=f"{url}/api/v1", timeout=ANSWER_S_MAX, limits=limits) as client:
        while crowd and time.monotonic() < until_s:
            bodies = [{"email": somebody.email, "password": somebody.password} for somebody in crowd]
            answers = await asyncio.gather(*(client.post("/auth/login", json=body) for body in bodies))
            statuses.update(answer.status_code for answer in answers)
            await asyncio.sleep(1)
    return statuses


if __name__ == "__main__":
    main()
