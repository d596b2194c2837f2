"""The ledger: bookings in PostgreSQL.

PostgreSQL is the truth of confirmed, cancelled and rejected bookings. It also has the final check of every counter of
the event: a CHECK on what is taken of it, or the primary key of a single, refuses a booking that Redis should not have
accepted. Fails closed: a booking that cannot be written stays unpersisted in Redis and is written again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Self

from msgspec import Struct
from sqlalchemy import BigInteger, LargeBinary, Text, bindparam, cast, exists, func, or_, select, text, tuple_
from sqlalchemy.dialects.postgresql import ARRAY, asyncpg
from sqlalchemy.exc import IntegrityError
from sqlalchemy.types import Uuid

from domain.kernel.bookings import HOLDING, STORED, Booking, BookingStatus
from domain.kernel.claims import SINGLE, claimed_singles, counters_with_row, own_claims, stored_claims, without_singles
from domain.kernel.partitions import KEY_BYTES, key_part
from domain.kernel.times import from_ms
from domain.kernel.unpersisted import Unpersisted, Written
from domain.platform.failpoints import Failpoint, reach
from domain.store.postgres.epochs import IDLE_MS_MAX, refuse_older
from domain.store.postgres.events.rows import SURELY_OVER
from domain.store.postgres.holdings import Holdings, Taken, read_holdings, read_taken
from domain.store.postgres.ledger_statements import AS_WRITTEN, FENCE_AND_LOCK, FORGET_INTENTS, PERSIST
from domain.store.postgres.seats import SEAT_KEY, NamedSingle, change_seats, read_misplaced
from domain.store.postgres.tables import bookings, counters, events, intents

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import ColumnElement, Table
    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.store.postgres.database import Database

TAKEN_CHECK = "ck_counters_taken"
SOLD_OUT = "sold_out"
"""The reason when a counter has too little left."""

KEY_UNIQUE = "ix_bookings_key"

_HOLDING = sorted(HOLDING & STORED)
"""The stored states in which a booking holds its claims."""


def booking_columns(table: Table) -> list[ColumnElement[Any]]:
    """The columns of a booking in a table that has them, for `read_booking`."""
    there = [name for name in Booking.__struct_fields__ if name in table.c]
    return [cast(table.c.body, Text).label("body") if name == "body" else table.c[name] for name in there]


BOOKING_COLUMNS = booking_columns(bookings)

UNIQUE_VIOLATION, CHECK_VIOLATION = "23505", "23514"


class LedgerRefused(Exception):
    """PostgreSQL refused the batch; `reason` is a word for the rejection of a booking."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WriteRow(Struct, frozen=True, gc=False):
    """An entry as it is written: its status and its claims."""

    entry: Unpersisted
    status: BookingStatus
    claims: str

    @classmethod
    def of(cls, entry: Unpersisted) -> Self:
        """The row of an entry."""
        claims = stored_claims(entry.claims, entry.user_id)
        status = BookingStatus.CONFIRMED if entry.status is BookingStatus.PENDING else entry.status
        return cls(entry, status, claims)


_FIND = str(
    select(*BOOKING_COLUMNS).where(bookings.c.id == bindparam("booking_id")).compile(dialect=asyncpg.dialect())  # type: ignore[no-untyped-call]
)
"""Run by the driver: it answers the polls of bookings whose record in Redis has expired."""

_SAME_KEY = text(
    f"substring(uuid_send(bookings.id) FROM 1 FOR {KEY_BYTES}) = :key_part AND bookings.status <> 'rejected'"
).bindparams(bindparam("key_part", type_=LargeBinary))
"""The same expression as in the index; otherwise PostgreSQL would not use the index."""

_TAKEN_OF = select(counters.c.event_id, counters.c.taken).where(
    counters.c.event_id == func.any(bindparam("event_ids", type_=ARRAY(Uuid))),
    counters.c.counter == bindparam("counter"),
)

_TAKEN_OF_EVENT = select(counters.c.counter, counters.c.taken).where(counters.c.event_id == bindparam("event_id"))

_UNITS_TAKEN = (
    select(counters.c.event_id, cast(func.sum(counters.c.taken), BigInteger))
    .where(counters.c.event_id == func.any(bindparam("event_ids", type_=ARRAY(Uuid))))
    .group_by(counters.c.event_id)
)


_DECIDES_MONEY = frozenset(
    {BookingStatus.PENDING, BookingStatus.CONFIRMED, BookingStatus.CANCELLED, BookingStatus.REJECTED}
)
"""States in which the row of a booking with a price decides what becomes of its payments."""

_CHECK_PAYMENTS = """
    INSERT INTO payment_checks (booking_id, version)
    SELECT id, version FROM unnest($1::uuid[], $2::integer[]) AS changed(id, version)
    ON CONFLICT DO NOTHING
"""


class Ledger:
    """One method per statement; `persist` also fences and locks before.

    `keeps_intents` says that accepted bookings are also in `intents` until they are persisted.
    """

    def __init__(self, database: Database, *, keeps_intents: bool = False) -> None:
        self._database = database
        self._keeps_intents = keeps_intents

    async def persist(self, batch: Sequence[Unpersisted], *, epoch: int) -> dict[str, Written]:
        """Write a batch of bookings, all or none; `pending` ones as `confirmed`. Only a newer version replaces a row.

        Idempotent, and safe in any order. Returns every booking of the batch as PostgreSQL has it now.

        Raises:
            EpochOver: the batch was read in an epoch that is over.
            LedgerRefused: a booking of the batch violates a constraint of PostgreSQL.
            Unavailable: PostgreSQL cannot be reached.
        """
        try:
            async with self._database.begin() as connection:
                rows = [WriteRow.of(entry) for entry in batch]
                await _fence_and_lock(connection, rows, epoch)
                written = await _write(connection, rows)
                if changed := _changed_singles([row for row in rows if row.entry.id in written]):
                    await change_seats(connection, changed)
                older = [entry.id for entry in batch if entry.id not in written]
                if older:
                    written |= await _as_written(connection, older)
                if self._keeps_intents:
                    done = (list(written), [row.version for row in written.values()])
                    await connection.exec_driver_sql(FORGET_INTENTS, done)
                if priced := [entry for entry in batch if entry.body and entry.status in _DECIDES_MONEY]:
                    versions = ([entry.id for entry in priced], [entry.version for entry in priced])
                    await connection.exec_driver_sql(_CHECK_PAYMENTS, versions)
                reach(Failpoint.BEFORE_COMMIT)
                return written
        except IntegrityError as error:
            raise LedgerRefused(_reason(error)) from error

    async def find(self, booking_id: UUID) -> Booking | None:
        """A booking in PostgreSQL, or None."""
        row = await self._database.row(_FIND, booking_id)
        return None if row is None else _booking_of(row)

    async def find_all(self, booking_ids: Sequence[UUID]) -> dict[UUID, Booking]:
        """The bookings of these ids that PostgreSQL has."""
        statement = select(*BOOKING_COLUMNS).where(
            bookings.c.id == func.any(bindparam("ids", list(booking_ids), type_=ARRAY(Uuid)))
        )
        async with self._database.connect() as connection:
            return {row.id: read_booking(row) for row in await connection.execute(statement)}

    async def find_by_key(self, booking_id: UUID) -> Booking | None:
        """The booking made with the account and key of `booking_id`, for any event.

        A rejected booking of another event does not count: its key can be used again.
        """
        same = bookings.c.id == booking_id
        same_key = _SAME_KEY.bindparams(key_part=key_part(booking_id))
        statement = select(*BOOKING_COLUMNS).where(or_(same, same_key)).order_by(same.desc()).limit(1)
        async with self._database.connect() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else read_booking(row)

    async def of_user(self, user_id: UUID, *, limit: int, before: tuple[datetime, UUID] | None) -> list[Booking]:
        """The `limit` newest bookings of an account, or the newest of those before `before`; newest first."""
        statement = (
            select(*BOOKING_COLUMNS)
            .where(bookings.c.user_id == user_id)
            .order_by(bookings.c.created_at.desc(), bookings.c.id.desc())
            .limit(limit)
        )
        if before:
            statement = statement.where(tuple_(bookings.c.created_at, bookings.c.id) < before)
        async with self._database.connect() as connection:
            return [read_booking(row) for row in await connection.execute(statement)]

    async def held_by(self, user_id: UUID, *, after: UUID | None, limit: int) -> list[Booking]:
        """The next bookings of an account that hold tickets of events that may not have begun, in order of id."""
        statement = (
            select(*BOOKING_COLUMNS)
            .join(events, events.c.id == bookings.c.event_id)
            .where(
                bookings.c.user_id == user_id,
                bookings.c.status.in_(_HOLDING),
                events.c.starts_at > func.now() - SURELY_OVER,
            )
            .order_by(bookings.c.id)
            .limit(limit)
        )
        if after:
            statement = statement.where(bookings.c.id > after)
        async with self._database.connect() as connection:
            return [read_booking(row) for row in await connection.execute(statement)]

    async def held_of_event(self, user_id: UUID, event_id: UUID) -> list[Booking]:
        """The bookings of an account that hold tickets of one event."""
        statement = select(*BOOKING_COLUMNS).where(
            bookings.c.user_id == user_id, bookings.c.event_id == event_id, bookings.c.status.in_(_HOLDING)
        )
        async with self._database.connect() as connection:
            return [read_booking(row) for row in await connection.execute(statement)]

    async def holds(self, event_ids: Sequence[UUID]) -> dict[UUID, list[Booking]]:
        """The holds of these events: few at any time, because each takes tickets for some minutes."""
        statement = select(*BOOKING_COLUMNS).where(
            bookings.c.event_id == func.any(bindparam("event_ids", list(event_ids), type_=ARRAY(Uuid))),
            bookings.c.status == BookingStatus.HELD,
        )
        found: dict[UUID, list[Booking]] = defaultdict(list)
        async with self._database.connect() as connection:
            for row in await connection.execute(statement):
                found[row.event_id].append(read_booking(row))
        return found

    async def due(self, *, now_ms: int, limit: int) -> list[Booking]:
        """Holds whose deadline has passed at `now_ms`, unless an acknowledged change of them is not persisted yet."""
        changed = exists().where(intents.c.id == bookings.c.id, intents.c.version > bookings.c.version)
        statement = (
            select(*BOOKING_COLUMNS)
            .where(bookings.c.status == BookingStatus.HELD, bookings.c.due_at <= from_ms(now_ms), ~changed)
            .order_by(bookings.c.id)
            .limit(limit)
        )
        async with self._database.connect() as connection:
            return [read_booking(row) for row in await connection.execute(statement)]

    async def holding(self, event_id: UUID, *, after: UUID | None, limit: int) -> list[Booking]:
        """The next bookings of an event that hold tickets, in order of id."""
        statement = (
            select(*BOOKING_COLUMNS)
            .where(bookings.c.event_id == event_id, bookings.c.status.in_(_HOLDING))
            .order_by(bookings.c.id)
            .limit(limit)
        )
        if after:
            statement = statement.where(bookings.c.id > after)
        async with self._database.connect() as connection:
            return [read_booking(row) for row in await connection.execute(statement)]

    async def holdings(self, event_ids: Sequence[UUID], *, counters_max: int) -> dict[UUID, Holdings]:
        """The tickets that each event's bookings hold, see `read_holdings`."""
        async with self._database.connect() as connection:
            return await read_holdings(connection, event_ids, counters_max=counters_max)

    async def taken_of(self, counter: str, event_ids: Sequence[UUID]) -> dict[UUID, int]:
        """What is taken of a counter of each event."""
        async with self._database.connect() as connection:
            rows = await connection.execute(_TAKEN_OF, {"event_ids": list(event_ids), "counter": counter})
            return {row.event_id: row.taken for row in rows}

    async def taken_of_event(self, event_id: UUID) -> dict[str, int]:
        """What is taken of every counter of an event."""
        async with self._database.connect() as connection:
            rows = await connection.execute(_TAKEN_OF_EVENT, {"event_id": event_id})
            return {row.counter: row.taken for row in rows}

    async def units_taken(self, event_ids: Sequence[UUID]) -> dict[UUID, int]:
        """What is taken of all counters of each event: a measure of the work that its bookings make."""
        async with self._database.connect() as connection:
            rows = await connection.execute(_UNITS_TAKEN, {"event_ids": list(event_ids)})
            return {row[0]: row[1] for row in rows}

    async def taken(self, event_ids: Sequence[UUID]) -> dict[UUID, dict[str, Taken]]:
        """The count of each counter of these events and the sum of its bookings, in one snapshot.

        Of the singles, those whose rows are not what the bookings claim.
        """
        async with self._database.connect() as connection:
            misplaced = await read_misplaced(connection, event_ids)
            counted = await read_taken(connection, event_ids)
        return {event_id: counted[event_id] | misplaced.get(event_id, {}) for event_id in event_ids}


async def _fence_and_lock(connection: AsyncConnection, batch: Sequence[WriteRow], epoch: int) -> None:
    texts = {(row.entry.event_id, without_singles(row.claims)) for row in batch}
    claimed = sorted({(event_id, counter) for event_id, claims in texts for counter in counters_with_row(claims)})
    event_ids, names = [event_id for event_id, _ in claimed], [counter for _, counter in claimed]
    answer = await connection.exec_driver_sql(FENCE_AND_LOCK, (event_ids, names, epoch, str(IDLE_MS_MAX)))
    refuse_older(int(answer.scalar_one()), epoch)


async def _write(connection: AsyncConnection, batch: Sequence[WriteRow]) -> dict[str, Written]:
    """Write the newer versions, and return those that were written."""
    answer = await connection.exec_driver_sql(PERSIST, _columns(batch))
    found = answer.one()
    confirmed_ms = dict(zip(found.ids, found.moments, strict=True))
    return {
        row.entry.id: Written(row.entry.id, row.status, row.entry.version, confirmed_ms[row.entry.id])
        for row in batch
        if row.entry.id in confirmed_ms
    }


def _changed_singles(written: Sequence[WriteRow]) -> list[NamedSingle]:
    """The singles that bookings name of which PostgreSQL may have had an earlier version."""
    return [
        NamedSingle(row.entry.event_id, counter, row.entry.id, held=row.status in HOLDING and units > 0)
        for row in written
        if row.entry.version > 1 and SINGLE in row.claims
        for counter, units in claimed_singles(row.claims)
    ]


async def _as_written(connection: AsyncConnection, booking_ids: Sequence[str]) -> dict[str, Written]:
    rows = await connection.exec_driver_sql(AS_WRITTEN, (booking_ids,))
    return {row.id: Written(row.id, BookingStatus(row.status), row.version, row.confirmed_ms) for row in rows}


def _columns(batch: Sequence[WriteRow]) -> tuple[Sequence[object], ...]:
    entries = [row.entry for row in batch]
    return (
        [entry.id for entry in entries],
        [entry.event_id for entry in entries],
        [entry.user_id for entry in entries],
        [entry.quantity for entry in entries],
        [row.status for row in batch],
        [entry.version for entry in entries],
        [entry.created_ms for entry in entries],
        [entry.cancelled_ms for entry in entries],
        [entry.reason for entry in entries],
        [row.claims for row in batch],
        [entry.fingerprint for entry in entries],
        [entry.due_ms for entry in entries],
        [entry.taken_ms for entry in entries],
        [entry.body for entry in entries],
    )


def _reason(error: IntegrityError) -> str:
    """The word for a violated constraint; it contains no table and no key."""
    state = getattr(error.orig, "sqlstate", None)
    if state == CHECK_VIOLATION and TAKEN_CHECK in str(error.orig):
        return SOLD_OUT
    if state == UNIQUE_VIOLATION and SEAT_KEY in str(error.orig):
        return SOLD_OUT
    if state == UNIQUE_VIOLATION and KEY_UNIQUE in str(error.orig):
        return "idempotency_key_reused"
    return "refused"


def read_booking(row: object) -> Booking:
    """A row of `bookings`."""
    return _booking_of(row._mapping)  # type: ignore[attr-defined]  # noqa: SLF001  (the row's documented mapping)


def _booking_of(fields: Mapping[str, Any]) -> Booking:
    claims = own_claims(fields["claims"], fields["user_id"])
    return Booking(**{**fields, "status": BookingStatus(fields["status"]), "claims": claims})
