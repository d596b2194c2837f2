"""The payment providers that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.sales.events import Payment
from domain.store.payment_providers.demonstration import DemonstrationProvider
from domain.store.payment_providers.stripe_api import Stripe

if TYPE_CHECKING:
    from domain.platform.settings import Settings
    from domain.store.payment_providers.port import PaymentProvider


def configured_providers(settings: Settings) -> dict[Payment, PaymentProvider]:
    """The providers that this deployment can ask, by the name that an event has for them."""
    found: dict[Payment, PaymentProvider] = {}
    if settings.test_payments == "on":
        found[Payment.TEST] = DemonstrationProvider()
    if settings.stripe_secret_key is not None and settings.stripe_webhook_secret is not None:
        found[Payment.STRIPE] = Stripe(
            settings.stripe_secret_key.get_secret_value(),
            webhook_secret=settings.stripe_webhook_secret.get_secret_value(),
            api_base=settings.stripe_api_base,
        )
    return found
