"""A sale in which many holds are not paid: 650 tickets, 2,000 buyers, 40 % of the holds expire.

Half of the buyers use a promo code. Of the holds, half are paid in time, 40 % never, and 10 % after their deadline: the
organizer's system reports the payments. A refused buyer asks again until nothing is left to hope for. Printed are what
was sold, and how long a ticket was free at most while buyers asked for it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from bisect import bisect_left, bisect_right
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID, uuid4

import msgspec
from msgspec import structs

from api.shapes import BookingShown
from domain.accounts.accounts import Role
from domain.engine import open_stores
from domain.store.postgres.reports.dashboards import Dashboards
from loadtests.bench.load.client import Connection
from loadtests.bench.load.requests import request
from loadtests.sales.profiles import SHMOOCON_2016
from loadtests.sales.setup import create_event, create_pool, create_promo_code, create_ticket_type
from loadtests.sales.stack import sale_stack
from ops.evidence.bulk import mint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from domain.engine import Stores
    from domain.platform.settings import Settings
    from ops.evidence.bulk import Minted

BUYERS_DEFAULT = 2_000
TICKETS_DEFAULT = 650
HOLD_MS = 6_000
PAID_SHARE, LATE_SHARE = 0.5, 0.1
CODE_SHARE = 0.5
PROMO_CODE, PERCENT_OFF = "EARLY", 10
PRICE_MINOR = 3_900

AGAIN_S = 4.0
"""How long a refused buyer waits at most; 2,000 of them ask at least 500 times a second."""

LATE_S_MAX = 0.5
SECONDS_MAX = 120.0
ASKED_PER_SECOND_MIN = 5
"""Fewer requests a second, and a free ticket does not count as idle: nobody wants it."""

IDLE_S_MAX = 1.0
LOOK_S = 0.01

RETRY_S = 1.0

HELD, CONFIRMED, UNAVAILABLE = 201, (200, 202), 503
"""Statuses: an order that is held, a payment that confirms it, also a repeated one, and one to be repeated."""


class UnpaidFigures(NamedTuple):
    """What a sale came to. `idle_s` is the longest time that a ticket was free while buyers asked."""

    sold: int
    money_minor: int
    expired: int
    late: int
    asked: int
    idle_s: float
    seconds: float


class _Sale:
    """The buyers of one sale, and what they saw. Times are those of the server, in seconds."""

    def __init__(self, url: str, organizer: Minted, event_id: UUID, type_id: UUID, *, tickets: int) -> None:
        self._url = url
        self._organizer = organizer
        self._body = {"event_id": event_id, "items": [{"ticket_type_id": type_id, "quantity": 1}]}
        self.tickets = tickets
        self.sold = self.money_minor = self.expired = self.late = 0
        self.asked_s: list[float] = []
        self.taken_s: list[float] = []
        self.freed_s: list[float] = []
        self._ends_s = time.monotonic() + SECONDS_MAX

    async def visit(self, buyer: Minted) -> None:
        """Ask for a ticket until it is bought, or the sale is over."""
        connection = await Connection.to(self._url)
        body = self._body | ({"promo_code": PROMO_CODE} if random.random() < CODE_SHARE else {})
        try:
            while self.sold < self.tickets and time.monotonic() < self._ends_s:
                asked = request("POST", "/api/v1/bookings", token=buyer.token, body=body, key=uuid4().hex)
                reply = await connection.ask(asked)
                self.asked_s.append(time.time())
                if reply.status == HELD:
                    await self._hold(connection, msgspec.json.decode(reply.body, type=BookingShown))
                    return
                await asyncio.sleep(random.uniform(0.1, AGAIN_S))
        finally:
            connection.close()

    async def _hold(self, connection: Connection, held: BookingShown) -> None:
        """Pay a hold in time, late, or never."""
        due_s = held.expires_at.timestamp() if held.expires_at else 0.0
        self.taken_s.append(held.created_at.timestamp())
        fate = random.random()
        if fate < PAID_SHARE:
            await asyncio.sleep(max(0.0, (due_s - time.time()) * random.uniform(0.1, 0.8)))
            await self._pay(connection, held)
            return
        self.freed_s.append(due_s)
        self.expired += 1
        if fate < PAID_SHARE + LATE_SHARE:
            await asyncio.sleep(max(0.0, due_s - time.time()) + random.uniform(0.0, LATE_S_MAX))
            if await self._pay(connection, held):
                self.late += 1
                self.taken_s.append(time.time())

    async def _pay(self, connection: Connection, held: BookingShown) -> bool:
        """Report the payment of a hold; returns whether its tickets are sold now."""
        body = {"payment_reference": str(held.id), "amount_minor": held.total_minor, "currency": held.currency}
        path = f"/api/v1/bookings/{held.id}/confirm"
        report = request("POST", path, token=self._organizer.token, body=body)
        # The payment may stand although the answer is 503: the same report again is the same payment.
        reply = await connection.ask(report)
        while reply.status == UNAVAILABLE and time.monotonic() < self._ends_s:
            await asyncio.sleep(RETRY_S)
            reply = await connection.ask(report)
        if reply.status not in CONFIRMED:
            return False
        self.sold += 1
        self.money_minor += held.total_minor or 0
        return True


async def _measure(url: str, settings: Settings, *, buyers: int, tickets: int) -> UnpaidFigures:
    """Hold one sale, wait until it is persisted, and compare what buyers paid with PostgreSQL."""
    (organizer,) = await mint(settings, role=Role.ORGANIZER, count=1)
    people = await mint(settings, role=Role.ATTENDEE, count=buyers)
    event_id, type_id = _put_on_sale(url, organizer.token, tickets=tickets)
    async with open_stores(settings) as stores:
        sale, began_s = _Sale(url, organizer, event_id, type_id, tickets=tickets), time.monotonic()
        await asyncio.gather(*(sale.visit(buyer) for buyer in people))
        seconds = time.monotonic() - began_s
        await _check_books(stores, event_id, sale)
    idle_s = idle_seconds(sale.freed_s, sale.taken_s, sale.asked_s, tickets=tickets)
    return UnpaidFigures(sale.sold, sale.money_minor, sale.expired, sale.late, len(sale.asked_s), idle_s, seconds)


def _put_on_sale(url: str, token: str, *, tickets: int) -> tuple[UUID, UUID]:
    """An event with a ticket type in a pool, and a promo code."""
    profile = structs.replace(SHMOOCON_2016, tickets=tickets)
    event_id = create_event(url, token=token, profile=profile, currency="EUR", payment="external")
    pool = create_pool(url, event_id, token=token, name="Hall", size=tickets)
    type_id = create_ticket_type(url, event_id, token=token, name="Adult", price_minor=PRICE_MINOR, pools=[str(pool)])
    create_promo_code(url, event_id, token=token, code=PROMO_CODE, percent_off=PERCENT_OFF)
    return event_id, type_id


async def _check_books(stores: Stores, event_id: UUID, sale: _Sale) -> None:
    """Raise SystemExit unless PostgreSQL has the tickets that were bought, for what was paid."""
    async with asyncio.timeout(SECONDS_MAX):
        while any(pulse.unpersisted_count for pulse in await stores.unpersisted.pulses()):  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
    known = (await Dashboards(stores.database).sales_of_events([event_id]))[event_id]
    if (known.sold, known.revenue_minor, known.taken) != (sale.sold, sale.money_minor, sale.sold):
        message = f"bought {sale.sold} for {sale.money_minor}; PostgreSQL has {known}"
        raise SystemExit(message)


def idle_seconds(
    freed_s: Sequence[float], taken_s: Sequence[float], asked_s: Sequence[float], *, tickets: int
) -> float:
    """The longest time from the deadline of a hold until its ticket was taken, while buyers asked often enough.

    A taken ticket is the one that was free for the longest time; the first `tickets` were never taken before.
    """
    free: deque[float | None] = deque([None] * tickets)
    asked, longest_s = sorted(asked_s), 0.0
    # At the millisecond of its deadline, a ticket is free for the next buyer: it is freed before it is taken.
    for at_s, taken in sorted([(at_s, False) for at_s in freed_s] + [(at_s, True) for at_s in taken_s]):
        if not taken:
            free.append(at_s)
            continue
        since_s = free.popleft() if free else None
        if since_s is not None and at_s - since_s > longest_s:
            requests = bisect_right(asked, at_s) - bisect_left(asked, since_s)
            if requests >= ASKED_PER_SECOND_MIN * (at_s - since_s):
                longest_s = at_s - since_s
    return longest_s


def main() -> None:
    """Run from the command line, print the figures, and exit with 1 if a ticket stayed unsold or idle."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.costs.unpaid_holds", description=__doc__)
    parser.add_argument("--buyers", type=int, default=BUYERS_DEFAULT, help="buyers, each with a connection")
    parser.add_argument("--tickets", type=int, default=TICKETS_DEFAULT, help="tickets")
    parser.add_argument("--runs", type=int, choices=range(1, 11), default=1, help="runs, one after the other")
    options = parser.parse_args()
    well = True
    for _ in range(options.runs):
        with (
            tempfile.TemporaryDirectory(prefix="onsale-unpaid-") as folder,
            sale_stack(Path(folder), CHAOS="on", TEST_HOLD_MS=str(HOLD_MS)) as stack,
        ):
            found = asyncio.run(_measure(stack.url, stack.settings(), buyers=options.buyers, tickets=options.tickets))
        print(found, flush=True)
        well &= found.sold == options.tickets and found.idle_s <= IDLE_S_MAX
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
