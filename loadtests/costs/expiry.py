"""What the deadlines of many holds cost buyers: 10,000 holds of one event end within one second.

A crowd asks for their tickets all the time. It calls the engine in this process, which is set up like an API process;
a worker expires and persists beside it. Printed are, of every refusal, how long before it was asked for the deadline of
a ticket had passed that nobody had yet, 0 for a refusal in time; and how long the calls took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from bisect import bisect_right
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from domain.accounts.accounts import Role
from domain.background.rebuilding import rebuild
from domain.engine import Stores, open_stores
from domain.kernel.refusals import SoldOut
from domain.platform.garbage_collection import spare_what_stays
from domain.platform.settings import Settings
from domain.sales.orders import TicketOrder
from domain.store.redis.admission import Ask
from migrations.upgrade import migrate
from ops.embedded.stack import EmbeddedStack
from ops.evidence.bulk import event_on_sale, mint, write_events

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from uuid import UUID

    from domain.kernel.bookings import Booking

HOLDS_DEFAULT = 10_000
AT_ONCE = 64
BUYERS_AT_ONCE = 8
"""Buyers who ask at the same time while the holds end."""

HOLD_MS_MIN = 1_000
"""From the first hold to the first deadline, with a millisecond more for each hold: enough time to hold all tickets."""

SPREAD_MS = 1_000
ASK_AGAIN_S = 0.001
LOOK_S = 0.01
SECONDS_MAX = 60.0


class ExpiryFigures(NamedTuple):
    """The figures of a run, in milliseconds: lateness of each refusal, and the duration of each call."""

    late_ms: list[float]
    took_ms: list[float]
    sold: int


def main() -> None:
    """Run from the command line and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.expiry", description=__doc__)
    parser.add_argument("--holds", type=int, default=HOLDS_DEFAULT, help="holds that end within a second")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-expiry-") as folder, EmbeddedStack(Path(folder)) as servers:
        migrate(servers.postgres.url())
        found = asyncio.run(_measure(servers.environment(), holds=options.holds))
    late, took = found.late_ms or [0.0], found.took_ms
    print(f"{options.holds} holds, {found.sold} bookings of their tickets, {len(found.late_ms)} refusals")
    print(
        f"refused after a deadline: p50 {_at(late, 0.5):.1f} ms, p99 {_at(late, 0.99):.1f} ms, most {max(late):.1f} ms"
    )
    print(f"calls: p50 {_at(took, 0.5):.1f} ms, p99 {_at(took, 0.99):.1f} ms, most {max(took):.1f} ms")


async def _measure(environment: Mapping[str, str], *, holds: int) -> ExpiryFigures:
    """Hold every ticket of an event, and buy what comes back; see the description of the module."""
    settings = Settings.model_validate({name.lower(): value for name, value in environment.items()})
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    buyers = [buyer.id for buyer in await mint(settings, role=Role.ATTENDEE, count=holds)]
    event = event_on_sale(organizer_id=organizer.id, title="All held", capacity=holds + 1, max_per_user=100)
    await write_events(settings, [event])
    async with open_stores(settings) as stores:
        await rebuild(stores)
        # The last ticket: it shows that the worker persists.
        await stores.box_office.reserve(Ask.trusted(buyers[0]), TicketOrder(event.id, 1))
        async with _worker(environment):
            await _until_persisted(stores)
            spare_what_stays()
            held = await _hold_all(stores, event.id, buyers)
            return await _buy_all(stores, event.id, buyers, held)


@asynccontextmanager
async def _worker(environment: Mapping[str, str]) -> AsyncIterator[None]:
    """Run a worker during the block."""
    values = {**os.environ, **environment, "LOG_LEVEL": "error"}
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "worker", env=values)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _until_persisted(stores: Stores) -> None:
    async with asyncio.timeout(SECONDS_MAX):
        while any(pulse.unpersisted_count for pulse in await stores.unpersisted.pulses()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)


async def _hold_all(stores: Stores, event_id: UUID, buyers: Sequence[UUID]) -> list[Booking]:
    """Hold a ticket for each buyer; all deadlines are within a second."""
    held: list[Booking] = []
    ends_ms = time.time() * 1_000 + HOLD_MS_MIN + len(buyers)
    for first in range(0, len(buyers), AT_ONCE):
        hold_ms = int(ends_ms - time.time() * 1_000 + SPREAD_MS * first / len(buyers))
        order = TicketOrder(event_id, 1, hold_ms=hold_ms)
        orders = (stores.box_office.reserve(Ask.trusted(buyer), order) for buyer in buyers[first : first + AT_ONCE])
        held += [reservation.booking for reservation in await asyncio.gather(*orders)]
    return held


async def _buy_all(stores: Stores, event_id: UUID, buyers: Sequence[UUID], held: Sequence[Booking]) -> ExpiryFigures:
    made_ms: list[float] = []
    refused_ms: list[tuple[float, float]] = []
    took_ms: list[float] = []
    waiting, end_s = iter(buyers), time.monotonic() + SECONDS_MAX

    async def ask(buyer: UUID) -> bool:
        sent_ms = time.time() * 1_000
        try:
            reservation = await stores.box_office.reserve(Ask.trusted(buyer), TicketOrder(event_id, 1))
        except SoldOut:
            refused_ms.append((sent_ms, time.time() * 1_000))
            return False
        finally:
            took_ms.append(time.time() * 1_000 - sent_ms)
        made_ms.append(reservation.booking.created_at.timestamp() * 1_000)
        return True

    async def buy() -> None:
        for buyer in waiting:
            while time.monotonic() < end_s and not await ask(buyer):  # noqa: ASYNC110  (a deadline is no event)
                await asyncio.sleep(ASK_AGAIN_S)

    await asyncio.gather(*(buy() for _ in range(BUYERS_AT_ONCE)))
    deadlines_ms = sorted(booking.due_at.timestamp() * 1_000 for booking in held if booking.due_at)
    made_ms.sort()
    return ExpiryFigures([_late(refusal, deadlines_ms, made_ms) for refusal in refused_ms], took_ms, len(made_ms))


def _late(refusal: tuple[float, float], deadlines_ms: Sequence[float], made_ms: Sequence[float]) -> float:
    """How long a deadline had passed whose ticket nobody had when a refusal was asked for; 0 for none."""
    sent_ms, answered_ms = refusal
    taken = bisect_right(made_ms, answered_ms)
    return max(0.0, sent_ms - deadlines_ms[taken]) if taken < len(deadlines_ms) else 0.0


def _at(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    main()
