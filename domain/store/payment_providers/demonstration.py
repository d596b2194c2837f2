"""A payment provider without money, for demonstrations: a page has the buttons "pay" and "decline"."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.sales.events import Payment
from domain.sales.payments import Paid
from domain.store.payment_providers.port import Opened, signature_invalid

if TYPE_CHECKING:
    from domain.store.postgres.payments.begun import PaymentIntent
    from domain.store.postgres.payments.refunds import Refund

PAGE = "/pay"
"""The path of the page."""


class DemonstrationProvider:
    """Takes no money, so it has nothing to look up and nothing to lose."""

    async def open(self, intent: PaymentIntent) -> Opened:
        """The page of the payment; its id is the secret that a buyer needs."""
        return Opened(reference_of(intent), url=f"{PAGE}/{intent.id}")

    async def close(self, intent: PaymentIntent) -> Paid | None:
        """None: the page offers only open payments."""
        del intent
        return None

    def read_message(self, payload: bytes, signature: str) -> Paid | None:
        """Raises SignatureInvalid: this provider sends no messages."""
        del payload, signature
        raise signature_invalid()

    async def find_refund(self, refund: Refund) -> str | None:
        """The name of a refund: it is made as soon as it is asked for."""
        return f"test_{refund.id.hex}"

    async def refund(self, refund: Refund) -> str:
        """The name of the refund."""
        return f"test_{refund.id.hex}"

    async def disconnect(self) -> None:
        """Nothing to close."""


def reference_of(intent: PaymentIntent) -> str:
    """The name of a payment."""
    return f"test_{intent.id.hex}"


def paid_of(intent: PaymentIntent) -> Paid:
    """The payment that the button "pay" makes."""
    return Paid(
        provider=Payment.TEST,
        reference=reference_of(intent),
        booking_id=intent.booking_id,
        event_id=intent.event_id,
        amount_minor=intent.amount_minor,
        currency=intent.currency,
    )
