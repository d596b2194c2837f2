"""The write-ahead table: with `DURABILITY=postgres`, changes are written to PostgreSQL before they are acknowledged.

It is the truth of an accepted booking if Redis is lost. An intent is appended in the epoch in which its script ran. If
that epoch is over, a rebuild has begun that may not have seen the change, so it is not acknowledged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import json
from sqlalchemy import and_, delete, exists, func, select, tuple_
from sqlalchemy.dialects.postgresql import distinct_on, insert

from domain.kernel.bookings import HOLDING, STORED, BookingStatus
from domain.kernel.claims import stored_claims
from domain.kernel.refusals import Unavailable
from domain.kernel.times import from_ms
from domain.store.postgres.epochs import EpochOver, hold_epoch
from domain.store.postgres.ledger import booking_columns, read_booking
from domain.store.postgres.tables import bookings, intents

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from domain.kernel.bookings import Booking
    from domain.store.postgres.database import Database

BATCH_MAX = 256
"""Intents appended by one statement."""

FLIGHTS_MAX = 2
"""Transactions under way at the same time: while one waits for the disk, the next batch collects intents."""

WAITING_MAX = 10_000
"""Intents that may wait for a transaction; further ones are refused rather than queued."""

FORGOTTEN_MAX = 20_000
"""Intents deleted by one statement, well within the time limit of a statement."""

FORGETTING_ROUNDS_MAX = 25
"""Statements of one call. The backlog of an outage is deleted in a few calls."""

_COLUMNS = booking_columns(intents)


class Lost(Enum):
    """What an intent that is not in `bookings` changes there."""

    RETURNED = "returned"
    """The booking holds nothing any more."""
    KEPT = "kept"
    """Its row holds claims, of which it has given some back or none."""
    TAKEN = "taken"
    """Its row holds nothing, or there is none."""


class Intents:
    """Appends intents in batches of concurrent requests. Fails closed."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[tuple[Booking, int, asyncio.Future[None]]] = deque()
        self._flights: set[asyncio.Task[None]] = set()

    async def append(self, booking: Booking, *, epoch: int) -> None:
        """Store a change in PostgreSQL. Idempotent.

        Raises:
            EpochOver: the script's epoch is over; the change must not be acknowledged.
            Unavailable: PostgreSQL cannot be reached, or too many changes wait for it.
        """
        if len(self._waiting) >= WAITING_MAX:
            detail = "Too many bookings wait to be stored. Try again."
            raise Unavailable(detail, retry_after_seconds=1)
        kept: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((booking, epoch, kept))
        self._launch()
        await kept

    async def lost(self, kind: Lost, *, now_ms: int, limit: int) -> list[Booking]:
        """The newest intents of a kind that are not in `bookings`, as of `now_ms`."""
        done = exists().where(and_(bookings.c.id == intents.c.id, bookings.c.version >= intents.c.version))
        newest = (
            select(*_COLUMNS)
            .ext(distinct_on(intents.c.id))
            .where(~done)
            .order_by(intents.c.id, intents.c.version.desc())
            .subquery()
        )
        due = and_(newest.c.status == BookingStatus.HELD, newest.c.due_at <= from_ms(now_ms))
        holds = and_(newest.c.status.in_(HOLDING), ~due)
        counted = exists().where(and_(bookings.c.id == newest.c.id, bookings.c.status.in_(HOLDING & STORED)))
        kinds = {Lost.RETURNED: ~holds, Lost.KEPT: and_(holds, counted), Lost.TAKEN: and_(holds, ~counted)}
        statement = select(newest).where(kinds[kind]).order_by(newest.c.id).limit(limit)
        async with self._database.connect() as connection:
            return [read_booking(row) for row in await connection.execute(statement)]

    async def latest_version(self, booking_id: UUID) -> int:
        """The newest acknowledged version of a booking that may not be in `bookings` yet; 0 for none."""
        statement = select(func.coalesce(func.max(intents.c.version), 0)).where(intents.c.id == booking_id)
        async with self._database.connect() as connection:
            return int((await connection.execute(statement)).scalar_one())

    async def forget_kept(self, *, limit: int = FORGOTTEN_MAX, rounds: int = FORGETTING_ROUNDS_MAX) -> int:
        """Delete intents whose change is in `bookings`, in at most `rounds` statements of `limit`; returns how many.

        One statement for all of them could exceed the time limit of a statement after an outage, in every attempt.
        """
        done = exists().where(and_(bookings.c.id == intents.c.id, bookings.c.version >= intents.c.version))
        key = tuple_(intents.c.id, intents.c.version)
        kept = select(intents.c.id, intents.c.version).where(done).limit(limit).cte("kept").prefix_with("MATERIALIZED")
        statement = delete(intents).where(key.in_(select(kept.c.id, kept.c.version)))
        forgotten = 0
        for _ in range(rounds):
            async with self._database.statement() as connection:
                deleted = (await connection.execute(statement)).rowcount
            forgotten += deleted
            if deleted < limit:
                break
        return forgotten

    def _launch(self) -> None:
        if self._waiting and len(self._flights) < FLIGHTS_MAX:
            flight = asyncio.create_task(self._fly())
            self._flights.add(flight)
            flight.add_done_callback(self._landed)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flights.discard(flight)
        self._launch()

    async def _fly(self) -> None:
        batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_MAX))]
        for epoch in {epoch for _, epoch, _ in batch}:
            await self._append_all([(booking, kept) for booking, of, kept in batch if of == epoch], epoch)

    async def _append_all(self, batch: Sequence[tuple[Booking, asyncio.Future[None]]], epoch: int) -> None:
        rows = [_row(booking) for booking, _ in batch]
        try:
            async with self._database.begin() as connection:
                await hold_epoch(connection, epoch)
                await connection.execute(insert(intents).on_conflict_do_nothing(), rows)
        except (EpochOver, Unavailable) as error:
            for _, kept in batch:
                if not kept.done():
                    kept.set_exception(error)
            return
        except BaseException:
            for _, kept in batch:
                kept.cancel()
            raise
        for _, kept in batch:
            if not kept.done():
                kept.set_result(None)


def _row(booking: Booking) -> dict[str, object]:
    fields = {column.name: getattr(booking, column.name) for column in _COLUMNS}
    claims = stored_claims(booking.known_claims, booking.user_id)
    return fields | {"claims": claims, "body": json.decode(booking.body) if booking.body else None}
