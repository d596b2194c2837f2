"""Refunds: money that goes back. PostgreSQL is the truth of what is due and of what was sent. Fails closed.

A refund is marked as sent before the provider is asked. So after a crash nobody sends it again before the provider was
asked whether it did it. The row is locked during the request, so only one process at a time sends it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID

from msgspec import Struct
from sqlalchemy import func, select, text, update

from domain.sales.events import Payment
from domain.sales.payments import RefundState
from domain.store.postgres.tables import refunds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from domain.store.postgres.database import Database

SENT_FOR_S = 60.0
"""How long a refund that was sent is left to its sender: longer than any request to a provider takes."""

PUT_OFF_S_MAX = 3600.0
"""The longest pause between two attempts to send one refund."""

_PICK = text(
    """
    WITH due AS MATERIALIZED (
        SELECT id FROM refunds
        WHERE state <> 'done' AND provider <> 'external' AND provider = ANY(:providers)
        AND next_at <= clock_timestamp()
        ORDER BY next_at LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE refunds SET state = 'sent', attempt = attempt + 1,
        next_at = clock_timestamp() + make_interval(secs => :sent_for_s)
    FROM payments
    WHERE refunds.id IN (SELECT id FROM due) AND payments.id = refunds.payment_id
    RETURNING refunds.id, refunds.provider, refunds.booking_id, refunds.amount_minor, refunds.currency,
        refunds.attempt, payments.reference AS payment_reference
    """
)


class Refund(Struct, frozen=True, kw_only=True):
    """A refund that is to be sent, of a part of a payment or all of it. `attempt` counts from 1."""

    id: UUID
    provider: Payment
    booking_id: UUID
    amount_minor: int
    currency: str
    attempt: int
    payment_reference: str


class Report(Struct, frozen=True, kw_only=True):
    """What came of a report that money was paid back: it is recorded, or else this is what is due."""

    known: bool = False
    due_minor: int = 0
    currency: str | None = None


class Refunds:
    """Picks refunds to be sent, and records what came of them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def pick(self, *, providers: list[str], limit: int) -> list[Refund]:
        """Mark the next refunds as sent, at most `limit` of them, and return them for their next attempt."""
        values = {"providers": providers, "limit": limit, "sent_for_s": SENT_FOR_S}
        async with self._database.begin() as connection:
            return [_read(row) for row in await connection.execute(_PICK, values)]

    @asynccontextmanager
    async def hold(self, refund: Refund) -> AsyncIterator[HeldRefund | None]:
        """Lock a refund while it is sent; None if another process has taken the attempt over.

        A connection is in use for as long as the block lasts.
        """
        statement = (
            select(refunds.c.id)
            .where(refunds.c.id == refund.id, refunds.c.state == RefundState.SENT, refunds.c.attempt == refund.attempt)
            .with_for_update(skip_locked=True)
        )
        async with self._database.begin() as connection:
            found = (await connection.execute(statement)).one_or_none()
            yield None if found is None else HeldRefund(connection, refund)

    async def report(self, booking_id: UUID, *, amount_minor: int, currency: str, reference: str) -> Report:
        """Record that what no provider sends of a booking was paid back, if the amount is all of it."""
        of_booking = refunds.c.booking_id == booking_id, refunds.c.provider == Payment.EXTERNAL
        statement = select(refunds).where(*of_booking).order_by(refunds.c.id).with_for_update()
        async with self._database.begin() as connection:
            rows = (await connection.execute(statement)).all()
            if any(row.reference == reference for row in rows):
                return Report(known=True)
            due = [row for row in rows if row.state != RefundState.DONE]
            owed = Report(due_minor=sum(row.amount_minor for row in due), currency=due[0].currency if due else None)
            if due and (owed.due_minor, owed.currency) == (amount_minor, currency):
                done = refunds.c.id.in_([row.id for row in due])
                await connection.execute(update(refunds).where(done).values(**_done(reference)))
                return Report(known=True)
            return owed


class HeldRefund:
    """A refund whose row is locked until the transaction ends."""

    def __init__(self, connection: Any, refund: Refund) -> None:  # noqa: ANN401  (SQLAlchemy's connection)
        self._connection = connection
        self._refund = refund

    async def done(self, reference: str) -> None:
        """Record that the provider has done it."""
        await self._write(**_done(reference))

    async def put_off(self) -> None:
        """Try again later, each time after a longer pause: the provider refused, or could not be asked."""
        pause_s = min(SENT_FOR_S * 2 ** min(self._refund.attempt, 10), PUT_OFF_S_MAX)
        await self._write(next_at=func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, pause_s))

    async def _write(self, **values: object) -> None:
        await self._connection.execute(update(refunds).where(refunds.c.id == self._refund.id).values(**values))


def _done(reference: str) -> dict[str, object]:
    return {"state": RefundState.DONE, "reference": reference, "done_at": func.clock_timestamp()}


def _read(row: Any) -> Refund:  # noqa: ANN401  (a row of the statement above)
    return Refund(**{**row._mapping, "provider": Payment(row.provider)})  # noqa: SLF001  (the row's documented mapping)
