"""Progress of cancelling an event with 50,000 bookings while its worker is killed three times."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from domain.accounts.accounts import Role
from domain.accounts.tokens import utc_now
from domain.kernel.partitions import random_booking_id
from loadtests.sales.stack import sale_stack
from ops.evidence.bulk import event_on_sale, mint, write_events
from ops.evidence.servers import postgres_of

if TYPE_CHECKING:
    from uuid import UUID

    from domain.platform.settings import Settings
    from ops.embedded.running import RunningStack

BOOKINGS_DEFAULT = 50_000
SECONDS_MAX = 900.0
LOOK_SECONDS = 1.0

KILLED_AT = (0.75, 0.5, 0.25)
"""The worker is killed when less than this share of the event is still booked."""

COLUMNS = ("id", "event_id", "user_id", "quantity", "status", "version", "created_at", "confirmed_at")


def main() -> None:
    """Run from the command line; exits with 1 when a ticket is still booked at the end."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.clearing", description=__doc__)
    parser.add_argument("--bookings", type=int, default=BOOKINGS_DEFAULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="onsale-clearing-") as name:
        stack = sale_stack(Path(name))
        event_id, token = stack.furnish(partial(_furnish, bookings=options.bookings))
        with stack:
            left = _cancel(stack, event_id, token, bookings=options.bookings)
    if left:
        sys.exit(f"{left} tickets are still booked after {SECONDS_MAX:.0f} s")


async def _furnish(settings: Settings, *, bookings: int) -> tuple[UUID, str]:
    """Write an event and its bookings; returns the event and its organizer's token."""
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    buyers = await mint(settings, role=Role.ATTENDEE, count=bookings)
    event = event_on_sale(organizer_id=organizer.id, title="A large event", capacity=bookings, max_per_user=1)
    await write_events(settings, [event])
    now = utc_now()
    rows = [(random_booking_id(event.id), event.id, buyer.id, 1, "confirmed", 1, now, now) for buyer in buyers]
    async with postgres_of(settings) as postgres:
        await postgres.copy_records_to_table("bookings", columns=COLUMNS, records=rows)
        await postgres.execute("UPDATE counters SET taken = size")
    return event.id, organizer.token


def _cancel(stack: RunningStack, event_id: UUID, token: str, *, bookings: int) -> int:
    """Cancel the event, kill the worker at KILLED_AT and print the progress; returns the tickets still booked."""
    url = f"{stack.url}/api/v1/events/{event_id}"
    kill_at = [round(share * bookings) for share in KILLED_AT]
    with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
        began_s = time.monotonic()
        left: int = client.delete(url).raise_for_status().json()["booked"]
        while left and time.monotonic() - began_s < SECONDS_MAX:
            time.sleep(LOOK_SECONDS)
            left = client.get(url).raise_for_status().json()["booked"]
            killed = bool(kill_at) and left < kill_at[0]
            if killed:
                kill_at.pop(0)
                for worker in stack.parts()["worker"]:
                    worker.kill()
            print(
                f"{time.monotonic() - began_s:6.1f} s {left:7} booked{'  worker killed' if killed else ''}", flush=True
            )
    return left


if __name__ == "__main__":
    main()
