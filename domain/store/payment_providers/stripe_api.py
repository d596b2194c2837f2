"""Stripe, by its official library: PaymentIntents, refunds and webhooks. Stripe is the truth of what it was paid.

The library is imported only by processes that have a key: it takes 0.14 s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import structlog
from msgspec import Struct

from domain.kernel.refusals import NotPayable
from domain.sales.events import Payment
from domain.sales.payments import Paid
from domain.store.payment_providers.port import Opened, signature_invalid, unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from domain.store.postgres.payments.begun import PaymentIntent
    from domain.store.postgres.payments.refunds import Refund

log = structlog.get_logger()

TIMEOUT_S = 20.0
"""How long one request to Stripe may take; shorter than a refund is left to its sender."""

TOLERANCE_S = 300
"""The largest age of a webhook, as Stripe recommends."""

REFUNDS_LISTED_MAX = 100
"""Refunds of one payment that are looked through: Stripe's largest page."""

SUCCEEDED = "payment_intent.succeeded"

BOOKING, EVENT, REFUND = "onsale_booking_id", "onsale_event_id", "onsale_refund_id"
"""The names of our ids in Stripe's metadata. A PaymentIntent without them is of another system."""

NOT_MADE = frozenset({"failed", "canceled"})
"""The states of refunds that move no money."""

HUNDREDFOLD = frozenset({"ISK", "UGX"})
"""Currencies without decimals that Stripe counts in hundredths (docs.stripe.com/currencies, special cases)."""

WITHOUT_DECIMALS = frozenset({"MGA"})
"""Currencies with two decimals that Stripe counts in whole units (the same page, zero-decimal currencies)."""

THREE_DECIMALS = frozenset({"BHD", "JOD", "KWD", "OMR", "TND"})
"""Currencies with three decimals, of which Stripe accepts two."""


class _Intent(Struct, frozen=True):
    id: str
    amount_received: int = 0
    amount: int = 0
    currency: str = ""
    status: str = ""
    metadata: dict[str, str] = {}


class _Data(Struct, frozen=True):
    object: msgspec.Raw


class _Event(Struct, frozen=True):
    type: str
    data: _Data


_EVENTS = msgspec.json.Decoder(_Event)
_INTENTS = msgspec.json.Decoder(_Intent)
"""Both ignore unknown fields: Stripe adds some without a new version."""


class Stripe:
    """A Stripe account. Its keys are in no log, and in no exception of this class."""

    def __init__(self, secret_key: str, *, webhook_secret: str, api_base: str) -> None:
        import stripe

        self._webhook_secret = webhook_secret
        self._http: Any = stripe.HTTPXClient(timeout=TIMEOUT_S)
        client = stripe.StripeClient(
            secret_key, base_addresses={"api": api_base}, http_client=self._http, max_network_retries=0
        )
        self._intents: Any = client.v1.payment_intents
        self._refunds: Any = client.v1.refunds

    async def open(self, intent: PaymentIntent) -> Opened:
        """Make a PaymentIntent, or find the one that was made; raises NotPayable, ProviderUnavailable."""
        if intent.reference:
            made = await _asked(self._intents.retrieve_async(intent.reference))
            return Opened(made.id, client_secret=made.client_secret)
        asked = {
            "amount": to_stripe(intent.amount_minor, intent.currency),
            "currency": intent.currency.lower(),
            "metadata": {BOOKING: str(intent.booking_id), EVENT: str(intent.event_id)},
        }
        made = await _asked(self._intents.create_async(asked, {"idempotency_key": str(intent.id)}))
        return Opened(made.id, client_secret=made.client_secret)

    async def close(self, intent: PaymentIntent) -> Paid | None:
        """Cancel a PaymentIntent; returns the payment if it was made already; raises ProviderUnavailable.

        One whose name is not known may have been made before a crash. A payment of it is told by a webhook.
        """
        if intent.reference is None:
            return None
        found = await _asked(self._intents.retrieve_async(intent.reference))
        if found.status == "succeeded":
            return _paid(_INTENTS.decode(str(found)))
        if found.status != "canceled":
            await _asked(self._intents.cancel_async(intent.reference))
        return None

    async def find_refund(self, refund: Refund) -> str | None:
        """The refund with our id among those of the payment; raises ProviderUnavailable."""
        asked = {"payment_intent": refund.payment_reference, "limit": REFUNDS_LISTED_MAX}
        page = await _asked(self._refunds.list_async(asked))
        found = [each.to_dict() for each in page.data]
        return next((each["id"] for each in found if _is(each, refund) and each["status"] not in NOT_MADE), None)

    async def refund(self, refund: Refund) -> str:
        """Refund a part of a PaymentIntent, or all of it; raises ProviderUnavailable."""
        asked = {
            "payment_intent": refund.payment_reference,
            "amount": to_stripe(refund.amount_minor, refund.currency),
            "metadata": {REFUND: str(refund.id), BOOKING: str(refund.booking_id)},
        }
        made = await _asked(self._refunds.create_async(asked, {"idempotency_key": str(refund.id)}))
        if made.status in NOT_MADE:
            raise unavailable()
        return str(made.id)

    def read_message(self, payload: bytes, signature: str) -> Paid | None:
        """The payment that a webhook tells of, None for any other message; raises SignatureInvalid."""
        import stripe

        try:
            text = payload.decode()
            stripe.WebhookSignature.verify_header(text, signature, self._webhook_secret, TOLERANCE_S)
            event = _EVENTS.decode(payload)
            intent = _INTENTS.decode(event.data.object) if event.type == SUCCEEDED else None
        except (stripe.SignatureVerificationError, UnicodeDecodeError, msgspec.MsgspecError):
            raise signature_invalid() from None
        return _paid(intent) if intent else None

    async def disconnect(self) -> None:
        """Close the connections to Stripe."""
        await self._http.close_async()


def to_stripe(amount_minor: int, currency: str) -> int:
    """An amount as Stripe counts it; raises NotPayable for one that Stripe cannot take."""
    divisor = 100 if currency in WITHOUT_DECIMALS else 10 if currency in THREE_DECIMALS else 1
    if amount_minor % divisor:
        detail = f"The payment provider cannot take this amount of {currency}."
        raise NotPayable(detail)
    if currency in WITHOUT_DECIMALS:
        return amount_minor // divisor
    return amount_minor * 100 if currency in HUNDREDFOLD else amount_minor


def from_stripe(amount: int, currency: str) -> int:
    """The inverse of `to_stripe`."""
    if currency in WITHOUT_DECIMALS:
        return amount * 100
    return amount // 100 if currency in HUNDREDFOLD else amount


def _paid(intent: _Intent) -> Paid | None:
    """The payment of a PaymentIntent, None for one of another system."""
    try:
        booking_id, event_id = UUID(intent.metadata[BOOKING]), UUID(intent.metadata[EVENT])
    except (KeyError, ValueError):
        return None
    currency = intent.currency.upper()
    return Paid(
        provider=Payment.STRIPE,
        reference=intent.id,
        booking_id=booking_id,
        event_id=event_id,
        amount_minor=from_stripe(intent.amount_received or intent.amount, currency),
        currency=currency,
    )


def _is(made: dict[str, Any], refund: Refund) -> bool:
    return bool((made["metadata"] or {}).get(REFUND) == str(refund.id))


async def _asked(request: Awaitable[Any]) -> Any:  # noqa: ANN401  (an answer of the library)
    """The answer of Stripe; raises ProviderUnavailable."""
    import stripe

    try:
        return await request
    except stripe.StripeError as error:
        # Not the message: Stripe repeats a part of a wrong key in it.
        log.warning("stripe_refused", kind=type(error).__name__, status=error.http_status, code=error.code)
        raise unavailable() from None
