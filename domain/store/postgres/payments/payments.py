"""Payments and the decisions about them. PostgreSQL is the truth of both, with every durability. Fails closed.

At most one payment of a booking is not `returned`; an index has the last word on that. A payment is decided only while
its row is locked, and a refund is written in the transaction that decides it.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from msgspec import Struct, structs
from sqlalchemy import bindparam, delete, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.types import Uuid

from domain.kernel.bookings import BookingStatus
from domain.kernel.refusals import InventoryUnavailable
from domain.sales.events import Payment, RefundPolicy
from domain.sales.payments import Balance, Decision, PaymentState, RefundCause, StoredPayment, StoredPrice, decide
from domain.store.postgres.tables import bookings, events, payment_checks, payments, refunds

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from domain.sales.payments import Paid
    from domain.store.postgres.database import Database

TAKE_ATTEMPTS_MAX = 4
"""How often a payment is written again because the one that was before it changed meanwhile."""

PAYMENT_FIELDS = [payments.c[name] for name in StoredPayment.__struct_fields__]

_DOUBLE = text(
    """
    WITH returned AS (
        INSERT INTO payments (
            id, provider, reference, booking_id, event_id, amount_minor, currency, state, returned_minor, cause,
            owner_refund
        )
        SELECT :id, :provider, :reference, :booking_id, :event_id, :amount_minor, :currency, 'returned', :amount_minor,
               'already_paid', 'none'
        WHERE EXISTS (SELECT FROM payments WHERE booking_id = :booking_id AND state <> 'returned')
        ON CONFLICT DO NOTHING
        RETURNING id, booking_id, event_id, provider, amount_minor, currency
    )
    INSERT INTO refunds (id, payment_id, booking_id, event_id, provider, cause, booking_version, amount_minor, currency)
    SELECT gen_random_uuid(), id, booking_id, event_id, provider, 'already_paid', 0, amount_minor, currency
    FROM returned
    """
).bindparams(*(bindparam(name, type_=Uuid) for name in ("id", "booking_id", "event_id")))
"""Another payment for a booking that has one already: it and its refund are written at once."""

_TAKE_CHECKS = text(
    """
    SELECT booking_id, version FROM payment_checks ORDER BY booking_id LIMIT :limit FOR UPDATE SKIP LOCKED
    """
)
"""A later version of a booking makes a further row, so it is not lost if it is persisted meanwhile."""

_BALANCES = text(
    """
    SELECT payments.booking_id, sum(payments.amount_minor)::bigint AS paid,
           coalesce(sum(gone.refunded), 0)::bigint AS refunded, sum(payments.returned_minor)::bigint AS returned
    FROM payments LEFT JOIN LATERAL (
        SELECT sum(amount_minor) AS refunded FROM refunds WHERE payment_id = payments.id AND state = 'done'
    ) AS gone ON true
    WHERE payments.booking_id = ANY(:booking_ids)
    GROUP BY payments.booking_id
    """
).bindparams(bindparam("booking_ids", type_=ARRAY(Uuid)))


class TakenPayment(Struct, frozen=True):
    """A payment that stands, and whether an earlier call had written it."""

    payment: StoredPayment
    repeated: bool


class Payments:
    """Writes payments once, and decides about them. Every method raises Unavailable without PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, paid: Paid) -> TakenPayment:
        """Store a payment, once by its reference. A second one for a booking is stored together with its refund.

        The event must exist.
        """
        for _ in range(TAKE_ATTEMPTS_MAX):
            async with self._database.begin() as connection:
                if (stored := await _insert(connection, paid)) is not None:
                    return TakenPayment(stored, repeated=False)
                known = await _find(connection, paid)
                if known is not None:
                    return TakenPayment(known, repeated=True)
                await connection.execute(_DOUBLE, structs.asdict(paid) | {"id": uuid4()})
                if (stored := await _find(connection, paid)) is not None:
                    return TakenPayment(stored, repeated=False)
        detail = "The payments of the booking are changing."
        raise InventoryUnavailable(detail, retry_after_seconds=1)

    async def find(self, paid: Paid) -> StoredPayment | None:
        """The payment with this reference, or None."""
        async with self._database.connect() as connection:
            return await _find(connection, paid)

    @asynccontextmanager
    async def hold(self, payment_id: UUID, *, waits: bool) -> AsyncIterator[HeldPayment | None]:
        """Lock a payment for the block; None if it is gone or, unless this waits, if another process has it.

        A connection is in use for as long as the block lasts.
        """
        statement = select(*PAYMENT_FIELDS).where(payments.c.id == payment_id).with_for_update(skip_locked=not waits)
        async with self._database.begin() as connection:
            row = (await connection.execute(statement)).one_or_none()
            yield None if row is None else HeldPayment(connection, read_payment(row))

    async def received(self, *, again_after_s: float, limit: int) -> list[StoredPayment]:
        """Payments whose booking PostgreSQL does not have as confirmed; each is told once in `again_after_s`."""
        due = (
            select(payments.c.id)
            .where(payments.c.state == PaymentState.RECEIVED, payments.c.next_at <= func.clock_timestamp())
            .order_by(payments.c.next_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .cte("due")
            .prefix_with("MATERIALIZED")
        )
        later = func.clock_timestamp() + func.make_interval(0, 0, 0, 0, 0, 0, again_after_s)
        statement = (
            update(payments).where(payments.c.id.in_(select(due.c.id))).values(next_at=later).returning(*PAYMENT_FIELDS)
        )
        async with self._database.statement() as connection:
            return [read_payment(row) for row in await connection.execute(statement)]

    async def decide_changed(self, *, limit: int) -> int:
        """Decide about the payments of bookings that have changed, at most `limit` of them; returns how many.

        A booking whose payment another process has locked is left for a later call.
        """
        async with self._database.begin() as connection:
            checks = [(row.booking_id, row.version) for row in await connection.execute(_TAKE_CHECKS, {"limit": limit})]
            if not checks:
                return 0
            changed = list({booking_id for booking_id, _ in checks})
            unlocked = await _lock_all(connection, changed)
            prices = await _stored_prices(connection, changed)
            for payment in unlocked.values():
                await _decide_by_row(connection, payment, prices.get(payment.booking_id))
            busy = await _active(connection, changed) - unlocked.keys()
            done = [check for check in checks if check[0] not in busy]
            key = tuple_(payment_checks.c.booking_id, payment_checks.c.version)
            await connection.execute(delete(payment_checks).where(key.in_(done)))
            return len(done)

    async def balances(self, booking_ids: Sequence[UUID]) -> dict[UUID, Balance]:
        """The balance of each of these bookings that has payments."""
        async with self._database.connect() as connection:
            rows = await connection.execute(_BALANCES, {"booking_ids": list(booking_ids)})
            return {row.booking_id: Balance(row.paid, row.refunded, row.returned - row.refunded) for row in rows}

    async def is_stored(self, booking_id: UUID) -> bool:
        """Whether PostgreSQL has a booking."""
        statement = select(bookings.c.id).where(bookings.c.id == booking_id)
        return bool(await self._database.rows(statement))


class HeldPayment:
    """A payment whose row is locked until the transaction ends."""

    def __init__(self, connection: AsyncConnection, payment: StoredPayment) -> None:
        self._connection = connection
        self.payment = payment

    async def decide_by_row(self) -> StoredPayment:
        """Decide by the row of the booking, if that decides it; returns the payment as it is then."""
        prices = await _stored_prices(self._connection, [self.payment.booking_id])
        price = prices.get(self.payment.booking_id)
        self.payment = await _decide_by_row(self._connection, self.payment, price)
        return self.payment

    async def write(self, decision: Decision) -> StoredPayment:
        """Write a decision and the refund that follows of it; returns the payment as it is then."""
        self.payment = await _write(self._connection, self.payment, decision)
        return self.payment


def read_payment(row: Sequence[Any]) -> StoredPayment:
    """A row of `PAYMENT_FIELDS`."""
    values = dict(zip(StoredPayment.__struct_fields__, row, strict=True))
    cause = values["cause"]
    return StoredPayment(
        **values
        | {
            "provider": Payment(values["provider"]),
            "state": PaymentState(values["state"]),
            "cause": None if cause is None else RefundCause(cause),
            "owner_refund": RefundPolicy(values["owner_refund"]),
        }
    )


async def _insert(connection: AsyncConnection, paid: Paid) -> StoredPayment | None:
    """Store a payment; None if it is stored already, or if another one pays for the booking."""
    policy = select(events.c.refund_on_owner_cancel).where(events.c.id == paid.event_id).scalar_subquery()
    values = structs.asdict(paid) | {"id": uuid4(), "state": PaymentState.RECEIVED, "owner_refund": policy}
    statement = insert(payments).values(values).on_conflict_do_nothing().returning(*PAYMENT_FIELDS)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else read_payment(row)


async def _find(connection: AsyncConnection, paid: Paid) -> StoredPayment | None:
    statement = select(*PAYMENT_FIELDS).where(
        payments.c.provider == paid.provider,
        payments.c.event_id == paid.event_id,
        payments.c.reference == paid.reference,
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else read_payment(row)


async def _lock_all(connection: AsyncConnection, booking_ids: Sequence[UUID]) -> dict[UUID, StoredPayment]:
    """The active payments of these bookings that no other process has locked, locked and by booking."""
    statement = (
        select(*PAYMENT_FIELDS)
        .where(payments.c.booking_id.in_(booking_ids), payments.c.state != PaymentState.RETURNED)
        .with_for_update(skip_locked=True)
    )
    return {row.booking_id: read_payment(row) for row in await connection.execute(statement)}


async def _active(connection: AsyncConnection, booking_ids: Sequence[UUID]) -> set[UUID]:
    statement = select(payments.c.booking_id).where(
        payments.c.booking_id.in_(booking_ids), payments.c.state != PaymentState.RETURNED
    )
    return set((await connection.execute(statement)).scalars())


async def _stored_prices(connection: AsyncConnection, booking_ids: Sequence[UUID]) -> dict[UUID, StoredPrice]:
    statement = (
        select(
            bookings.c.id,
            bookings.c.status,
            bookings.c.version,
            func.coalesce(bookings.c.amount_minor, 0).label("total_minor"),
            bookings.c.confirmed_at.is_not(None).label("confirmed"),
            bookings.c.reason,
            bookings.c.body["reduced_by"].astext.label("reduced_by"),
            events.c.refund_on_owner_cancel,
        )
        .join(events, events.c.id == bookings.c.event_id)
        .where(bookings.c.id.in_(booking_ids))
    )
    return {row.id: _stored_price(row) for row in await connection.execute(statement)}


def _stored_price(row: Any) -> StoredPrice:  # noqa: ANN401  (a row of the statement above)
    return StoredPrice(
        status=BookingStatus(row.status),
        version=row.version,
        total_minor=row.total_minor,
        confirmed=row.confirmed,
        reason=row.reason,
        reduced_by=row.reduced_by,
        owner_refund=RefundPolicy(row.refund_on_owner_cancel),
    )


async def _decide_by_row(
    connection: AsyncConnection, payment: StoredPayment, price: StoredPrice | None
) -> StoredPayment:
    decision = None if price is None else decide(payment, price)
    return payment if decision is None else await _write(connection, payment, decision)


async def _write(connection: AsyncConnection, payment: StoredPayment, decision: Decision) -> StoredPayment:
    """Write a decision together with its refund. The unique cause of the refund lets no decision be written twice."""
    if decision.returned_minor:
        await connection.execute(insert(refunds).values(_refund_row(payment, decision)))
    statement = (
        update(payments)
        .where(payments.c.id == payment.id)
        .values(
            state=decision.state,
            cause=decision.cause if decision.state is PaymentState.RETURNED else None,
            returned_minor=payments.c.returned_minor + decision.returned_minor,
            kept_minor=payments.c.kept_minor + decision.kept_minor,
        )
        .returning(*PAYMENT_FIELDS)
    )
    return read_payment((await connection.execute(statement)).one())


def _refund_row(payment: StoredPayment, decision: Decision) -> dict[str, object]:
    return {
        "id": uuid4(),
        "payment_id": payment.id,
        "booking_id": payment.booking_id,
        "event_id": payment.event_id,
        "provider": payment.provider,
        "cause": decision.cause,
        "booking_version": decision.booking_version,
        "amount_minor": decision.returned_minor,
        "currency": payment.currency,
    }
