"""What the engine asks of a payment provider. Each method fails closed: the engine asks again later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from domain.kernel.refusals import SignatureInvalid, Unavailable

if TYPE_CHECKING:
    from domain.sales.payments import Paid
    from domain.store.postgres.payments.begun import PaymentIntent
    from domain.store.postgres.payments.refunds import Refund

RETRY_AFTER_SECONDS = 5


class ProviderUnavailable(Unavailable):
    """The payment provider cannot be asked, or has refused; carries `retry_after_seconds`."""


def unavailable() -> ProviderUnavailable:
    """The failure of a request to a provider."""
    return ProviderUnavailable("The payment provider cannot be asked.", retry_after_seconds=RETRY_AFTER_SECONDS)


def signature_invalid() -> SignatureInvalid:
    """The refusal of a message that does not come from the provider."""
    return SignatureInvalid("The message is not signed with the secret of the webhook, or it is too old.")


class Opened(Struct, frozen=True):
    """A payment that its buyer can make: with the secret in a client of the provider, or on a page."""

    reference: str
    client_secret: str | None = None
    url: str | None = None


class PaymentProvider(Protocol):
    """A payment provider. Every method may be repeated, also after a crash in the middle of it.

    Raises:
        ProviderUnavailable: it is not known whether the provider has done it.
    """

    async def open(self, intent: PaymentIntent) -> Opened:
        """Let a buyer pay. A payment that was opened before is the same."""

    async def close(self, intent: PaymentIntent) -> Paid | None:
        """Let a buyer not pay any more; returns the payment if it was made already."""

    def read_message(self, payload: bytes, signature: str) -> Paid | None:
        """The payment that a message of the provider tells of, None for any other message; raises SignatureInvalid."""

    async def find_refund(self, refund: Refund) -> str | None:
        """The provider's name for a refund that it has made, or None."""

    async def refund(self, refund: Refund) -> str:
        """Pay money back; returns the provider's name for it. A second call may pay it back twice."""

    async def disconnect(self) -> None:
        """Close the connections to the provider."""
