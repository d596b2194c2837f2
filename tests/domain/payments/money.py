"""Priced holds, payments of them, and what PostgreSQL says of their money."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import text

from domain.background.payments import apply_received_payments_once, decide_payments_once
from domain.background.rebuilding import rebuild
from domain.sales.events import Payment
from domain.sales.payments import Balance, Paid
from tests.factories import hold
from tests.waiting import persist_all

if TYPE_CHECKING:
    from domain.engine import Stores
    from domain.kernel.bookings import Booking
    from domain.sales.events import Event

PRICE = 2_500

_UNBALANCED = text(
    """
    SELECT payments.booking_id, sum(payments.amount_minor) AS paid, sum(payments.returned_minor) AS returned,
           sum(payments.kept_minor) AS kept, max(bookings.status) AS status, max(bookings.amount_minor) AS total
    FROM payments LEFT JOIN bookings ON bookings.id = payments.booking_id
    GROUP BY payments.booking_id
    HAVING sum(payments.amount_minor) <> sum(payments.returned_minor) + sum(payments.kept_minor)
        + coalesce(max(CASE WHEN bookings.status = 'confirmed' THEN bookings.amount_minor END), 0)
    """
)


def priced(total_minor: int = PRICE, **more: Any) -> str:
    """The body of a booking with a price."""
    return msgspec.json.encode({"items": [], "total_minor": total_minor, "currency": "EUR"} | more).decode()


async def hold_priced(stores: Stores, event: Event, *, total_minor: int = PRICE, **fields: Any) -> Booking:
    """A hold with a price."""
    return await hold(stores, event, body=priced(total_minor), **fields)


def payment_of(booking: Booking, reference: str = "transfer 1", **changed: Any) -> Paid:
    """What the organizer's system reports when it has received the price of a booking."""
    fields: dict[str, Any] = {
        "provider": Payment.EXTERNAL,
        "reference": reference,
        "booking_id": booking.id,
        "event_id": booking.event_id,
        "amount_minor": PRICE,
        "currency": "EUR",
    }
    return Paid(**fields | changed)


async def pay(stores: Stores, booking: Booking, reference: str = "transfer 1", **changed: Any) -> Booking:
    """Confirm a booking with a payment."""
    return (await stores.payment_actions.confirm(booking, payment_of(booking, reference, **changed))).booking


async def settle(stores: Stores) -> None:
    """Run the passes of workers until nothing is left to persist, to apply and to decide."""
    await persist_all(stores)
    await make_received_due(stores)
    await apply_received_payments_once(stores)
    await persist_all(stores)
    await decide_payments_once(stores)


async def lose_redis(stores: Stores) -> None:
    """Empty Redis, and rebuild it from PostgreSQL."""
    await stores.pipeline.redis.flushall()
    await rebuild(stores)


async def make_received_due(stores: Stores) -> None:
    """Let the pause before payments are applied again be over."""
    async with stores.database.begin() as connection:
        await connection.execute(text("UPDATE payments SET next_at = created_at"))


async def balance(stores: Stores, booking: Booking) -> Balance:
    """The balance of a booking as its owner sees it."""
    return (await stores.money.payments.balances([booking.id])).get(booking.id, Balance())


async def unbalanced(stores: Stores) -> list[tuple[Any, ...]]:
    """Bookings whose payments are not what was returned, kept and confirmed."""
    async with stores.database.connect() as connection:
        return [tuple(row) for row in await connection.execute(_UNBALANCED)]


async def payments_of(stores: Stores, booking: Booking) -> list[tuple[str, str, str | None]]:
    """Reference, state and cause of a booking's payments, the first first."""
    statement = text("SELECT reference, state, cause FROM payments WHERE booking_id = :id ORDER BY created_at")
    async with stores.database.connect() as connection:
        return [tuple(row) for row in await connection.execute(statement, {"id": booking.id})]


async def refunds_of(stores: Stores, booking: Booking) -> list[tuple[int, str, str]]:
    """Amount, cause and state of a booking's refunds, the first first."""
    statement = text("SELECT amount_minor, cause, state FROM refunds WHERE booking_id = :id ORDER BY created_at")
    async with stores.database.connect() as connection:
        return [tuple(row) for row in await connection.execute(statement, {"id": booking.id})]


async def set_policy(stores: Stores, event: Event, policy: str) -> None:
    """Set what an owner gets back who cancels."""
    async with stores.database.begin() as connection:
        statement = text("UPDATE events SET refund_on_owner_cancel = :policy WHERE id = :id")
        await connection.execute(statement, {"policy": policy, "id": event.id})
