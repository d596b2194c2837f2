"""A sale whose bookings are paid at Stripe, and the account at a server that answers as Stripe does."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from sqlalchemy import text

from domain.engine import open_stores
from tests.api.callers import Callers
from tests.api.conftest import cheap_passwords, serving
from tests.domain.balance import balanced
from tests.domain.payments.money import PRICE, hold_priced
from tests.factories import as_organizer, new_event
from tests.stripe.account import StripeAccount

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from domain.engine import Stores
    from domain.platform.settings import Settings

__all__ = ["balanced", "cheap_passwords"]


@pytest.fixture(scope="session")
def account() -> Iterator[StripeAccount]:
    """The account at Stripe."""
    with StripeAccount() as started:
        yield started


@pytest.fixture
def paid_by_stripe(settings: Settings, account: StripeAccount) -> Settings:
    """Settings without limits, with the account."""
    return account.of(settings).model_copy(update={"rate_limits": "off"})


@pytest.fixture
async def stores(clean: Stores, paid_by_stripe: Settings) -> AsyncIterator[Stores]:  # noqa: ARG001  (cleaned first)
    """The stores of a process that has the account."""
    async with open_stores(paid_by_stripe) as stores:
        await stores.scripts.refresh()
        yield stores


class StripeSale:
    """An event that is paid at Stripe, its organizer, a buyer, and the buyer's hold."""

    def __init__(self, client, stores):
        self._callers = Callers(client, stores)
        self._stores = stores
        self.client = client

    async def make(self, **fields):
        self.organizer, self.buyer = await self._callers.organizer(), await self._callers.attendee()
        self.event = await self._stores.event_actions.create(
            new_event(**fields), caller=as_organizer(UUID(self.organizer.id))
        )
        async with self._stores.database.begin() as connection:
            paid = text("UPDATE events SET payment = 'stripe', currency = 'EUR' WHERE id = :id")
            await connection.execute(paid, {"id": self.event.id})
        self.hold = await hold_priced(self._stores, self.event, user_id=UUID(self.buyer.id))
        return self

    async def begin(self):
        """Begin to pay; returns the id of the PaymentIntent."""
        answer = await self.buyer.post(f"/api/v1/bookings/{self.hold.id}/pay")
        assert answer.status_code == 200, answer.text
        assert answer.json()["client_secret"]
        assert answer.json()["amount_minor"] == PRICE
        return answer.json()["reference"]

    async def tell(self, payload, fields):
        """Let Stripe tell of a payment."""
        return await self.client.post("/api/v1/payments/stripe/webhook", content=payload, headers=fields)

    async def shown(self):
        return (await self.buyer.get(f"/api/v1/bookings/{self.hold.id}/status")).json()

    async def money(self):
        told = await self.shown()
        return tuple(told.get(name) for name in ("paid_minor", "refunded_minor", "refund_due_minor"))


@pytest.fixture
async def client(clean, paid_by_stripe):  # noqa: ARG001  (clean servers)
    async with serving(paid_by_stripe) as client:
        yield client


@pytest.fixture
def new_sale(client, stores):
    """Makes a sale; its fields are those of the event."""
    return StripeSale(client, stores).make


@pytest.fixture
async def sale(new_sale):
    return await new_sale()
