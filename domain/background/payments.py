"""Payments: applied again, decided, refunded and closed by workers. Each pass may be killed at any point.

A payment is applied by the request that tells of it. The passes finish what a crash, a loss of Redis or a rebuild has
interrupted, and decide about the money of bookings that were cancelled or reduced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from msgspec import Struct

from domain.kernel.refusals import Unavailable
from domain.platform.concurrency import together

if TYPE_CHECKING:
    from domain.engine import Stores
    from domain.sales.payments import StoredPayment
    from domain.store.postgres.payments.begun import PaymentIntent
    from domain.store.postgres.payments.refunds import Refund

log = structlog.get_logger()

PAYMENTS_MAX = 100
"""Payments that one call applies again."""

AGAIN_AFTER_S = 2.0
"""The pause before a payment is applied again. Its booking is usually persisted long before."""

APPLIED_AT_ONCE_MAX = 3

DECIDED_MAX = 200
"""Changed bookings whose payments one call decides."""

REFUNDS_MAX = 20
"""Refunds that one call sends, one after the other."""

BEGUN_MAX = 50
"""Payments of ended holds that one call closes."""


class Decided(Struct, frozen=True):
    """How many changed bookings a call has dealt with, and whether that was all of them."""

    bookings: int
    complete: bool


async def apply_received_payments_once(stores: Stores, *, limit: int = PAYMENTS_MAX) -> int:
    """Apply payments whose booking PostgreSQL does not have as confirmed; returns how many were tried."""

    async def apply(payment: StoredPayment) -> None:
        try:
            await stores.payment_actions.apply_again(payment)
        except Unavailable as error:
            log.warning("payment_put_off", payment_id=str(payment.id), cause=str(error))
        except Exception:
            log.exception("payment_failed", payment_id=str(payment.id))

    due = await stores.money.payments.received(again_after_s=AGAIN_AFTER_S, limit=limit)
    await together(apply, due, at_once_max=APPLIED_AT_ONCE_MAX)
    return len(due)


async def decide_payments_once(stores: Stores, *, limit: int = DECIDED_MAX) -> Decided:
    """Decide about the payments of bookings that were confirmed, cancelled, reduced or rejected."""
    bookings = await stores.money.payments.decide_changed(limit=limit)
    return Decided(bookings, complete=bookings < limit)


async def send_refunds_once(stores: Stores, *, limit: int = REFUNDS_MAX) -> int:
    """Send refunds that are due, or whose sender has died; returns how many are done."""
    if not stores.money.providers:
        return 0
    picked = await stores.money.refunds.pick(providers=sorted(stores.money.providers), limit=limit)
    return sum([await _send(stores, refund) for refund in picked])


async def close_begun_payments_once(stores: Stores, *, limit: int = BEGUN_MAX) -> int:
    """Close payments that were begun for holds that have ended; returns how many are closed."""
    if not stores.money.providers:
        return 0
    ended = await stores.money.begun.pick_ended(providers=sorted(stores.money.providers), limit=limit)
    return sum([await _close(stores, intent) for intent in ended])


async def _send(stores: Stores, refund: Refund) -> bool:
    """Send a refund; one that fails unexpectedly does not delay the others."""
    try:
        return await stores.payment_actions.send(refund)
    except Exception:
        log.exception("refund_failed", refund_id=str(refund.id))
        return False


async def _close(stores: Stores, intent: PaymentIntent) -> bool:
    try:
        await stores.payment_actions.close(intent)
    except Unavailable as error:
        log.warning("payment_not_closed", intent_id=str(intent.id), cause=str(error))
        return False
    except Exception:
        log.exception("payment_not_closed", intent_id=str(intent.id))
        return False
    return True
