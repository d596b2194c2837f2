"""Payments that buyers have begun at a provider and may still make. PostgreSQL is the truth of them. Fails closed.

One of a booking is open at a time. Its row is written before the provider is asked, so none is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import Struct, structs
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from domain.sales.events import Payment
from domain.sales.payments import IntentState
from domain.store.postgres.tables import payment_intents

if TYPE_CHECKING:
    from domain.store.postgres.database import Database

AGAIN_AFTER_S = 30.0
"""How long a payment that is to be closed is left to the process that closes it."""

_PICK_ENDED = text(
    """
    WITH ended AS MATERIALIZED (
        SELECT payment_intents.id FROM payment_intents LEFT JOIN bookings ON bookings.id = payment_intents.booking_id
        WHERE payment_intents.state <> 'closed' AND payment_intents.provider = ANY(:providers)
        AND payment_intents.next_at <= clock_timestamp()
        AND (
            bookings.status <> 'held' OR bookings.due_at < clock_timestamp()
            OR bookings.id IS NULL AND payment_intents.created_at < clock_timestamp() - interval '1 hour'
        )
        ORDER BY payment_intents.next_at LIMIT :limit FOR UPDATE OF payment_intents SKIP LOCKED
    )
    UPDATE payment_intents SET next_at = clock_timestamp() + make_interval(secs => :again_after_s)
    WHERE id IN (SELECT id FROM ended)
    RETURNING id, provider, reference, booking_id, event_id, amount_minor, currency, state
    """
)


class PaymentIntent(Struct, frozen=True, kw_only=True):
    """A payment that a buyer has begun. `reference` is the provider's name for it, None until it has answered."""

    id: UUID
    provider: Payment
    reference: str | None
    booking_id: UUID
    event_id: UUID
    amount_minor: int
    currency: str
    state: IntentState


_FIELDS = [payment_intents.c[name] for name in PaymentIntent.__struct_fields__]


class BegunPayments:
    """One method per statement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(
        self, booking_id: UUID, *, event_id: UUID, provider: Payment, amount_minor: int, currency: str
    ) -> PaymentIntent:
        """The payment of a booking that is open, or a new one."""
        intent = PaymentIntent(
            id=uuid4(),
            provider=provider,
            reference=None,
            booking_id=booking_id,
            event_id=event_id,
            amount_minor=amount_minor,
            currency=currency,
            state=IntentState.OPENING,
        )
        async with self._database.statement() as connection:
            written = insert(payment_intents).values(structs.asdict(intent)).on_conflict_do_nothing()
            await connection.execute(written)
        return await self.open_of(booking_id) or intent

    async def open_of(self, booking_id: UUID) -> PaymentIntent | None:
        """The payment of a booking that is open, or None."""
        statement = select(*_FIELDS).where(
            payment_intents.c.booking_id == booking_id, payment_intents.c.state != IntentState.CLOSED
        )
        rows = await self._database.rows(statement)
        return _read(rows[0]) if rows else None

    async def find_open(self, intent_id: UUID) -> PaymentIntent | None:
        """The open payment with this id, or None."""
        statement = select(*_FIELDS).where(
            payment_intents.c.id == intent_id, payment_intents.c.state != IntentState.CLOSED
        )
        rows = await self._database.rows(statement)
        return _read(rows[0]) if rows else None

    async def opened(self, intent_id: UUID, *, reference: str) -> None:
        """Record the provider's name for a payment."""
        changed = {"state": IntentState.OPEN, "reference": reference}
        where = payment_intents.c.id == intent_id, payment_intents.c.state == IntentState.OPENING
        async with self._database.statement() as connection:
            await connection.execute(update(payment_intents).where(*where).values(**changed))

    async def pick_ended(self, *, providers: list[str], limit: int) -> list[PaymentIntent]:
        """Open payments whose hold has ended, at most `limit`; each is told once in AGAIN_AFTER_S."""
        values = {"providers": providers, "limit": limit, "again_after_s": AGAIN_AFTER_S}
        async with self._database.begin() as connection:
            return [_read(row) for row in await connection.execute(_PICK_ENDED, values)]

    async def closed(self, intent_id: UUID) -> None:
        """Record that nobody can make a payment any more, or that it was made."""
        async with self._database.statement() as connection:
            where = payment_intents.c.id == intent_id
            await connection.execute(update(payment_intents).where(where).values(state=IntentState.CLOSED))


def _read(row: Any) -> PaymentIntent:  # noqa: ANN401  (a row of `_FIELDS`)
    values = row._mapping  # noqa: SLF001  (the row's documented mapping)
    provider, state = Payment(values["provider"]), IntentState(values["state"])
    return PaymentIntent(**{**values, "provider": provider, "state": state})
