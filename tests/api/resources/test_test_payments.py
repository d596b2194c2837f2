"""The test provider: a page with two buttons, for demonstrations, and never in production."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError
from sqlalchemy import text

from domain.background.payments import close_begun_payments_once, send_refunds_once
from domain.engine import open_stores
from domain.platform.settings import Settings
from domain.sales.events import Deadline
from tests.api.callers import Callers
from tests.api.conftest import serving
from tests.domain.payments.money import PRICE, hold_priced, settle
from tests.factories import as_organizer, make_due, new_event
from tests.waiting import persist_all

API = "/api/v1/bookings"


class Demonstration:
    """A buyer's hold of an event that is paid on the page."""

    def __init__(self, client, stores):
        self.client = client
        self.stores = stores

    async def make(self):
        callers = Callers(self.client, self.stores)
        self.buyer, organizer = await callers.attendee(), await callers.organizer()
        event = await self.stores.event_actions.create(new_event(), caller=as_organizer(UUID(organizer.id)))
        async with self.stores.database.begin() as connection:
            await connection.execute(text("UPDATE events SET payment = 'test', currency = 'EUR'"))
        self.hold = await hold_priced(self.stores, event, user_id=UUID(self.buyer.id))
        return self

    async def begin(self):
        return (await self.buyer.post(f"{API}/{self.hold.id}/pay")).json()

    async def press(self, begun, outcome):
        intent_id = begun["url"].rpartition("/")[2]
        return await self.client.post(f"/api/v1/payments/test/{intent_id}", json={"outcome": outcome})

    async def shown(self):
        return (await self.buyer.get(f"{API}/{self.hold.id}/status")).json()


@pytest.fixture
async def demonstration(clean, unlimited):  # noqa: ARG001  (clean servers)
    settings = unlimited.model_copy(update={"test_payments": "on"})
    async with open_stores(settings) as stores, serving(settings) as client:
        await stores.scripts.refresh()
        yield await Demonstration(client, stores).make()


async def test_the_button_pay_confirms_the_booking(demonstration):
    begun = await demonstration.begin()

    page = await demonstration.client.get(begun["url"])
    paid = await demonstration.press(begun, "pay")
    again = await demonstration.press(begun, "pay")
    await settle(demonstration.stores)

    assert page.status_code == 200
    assert (paid.status_code, paid.json()) == (200, {"payment": True})
    assert (again.status_code, again.json()["code"]) == (404, "payment_not_found")
    assert (await demonstration.shown())["paid_minor"] == PRICE


async def test_the_button_decline_leaves_the_hold_and_another_payment_can_be_begun(demonstration):
    first = await demonstration.begin()

    declined = await demonstration.press(first, "decline")
    second = await demonstration.begin()
    await demonstration.press(second, "pay")

    assert declined.json() == {"payment": False}
    assert first["reference"] != second["reference"]
    assert (await demonstration.shown())["status"] == "pending"


async def test_a_hold_is_not_changed_while_its_payment_is_open(demonstration):
    path = f"{API}/{demonstration.hold.id}"
    kept = {"items": [{"ticket_type_id": str(demonstration.hold.event_id), "quantity": 1}]}
    begun = await demonstration.begin()

    refused = await demonstration.buyer.patch(path, kept)
    await demonstration.press(begun, "decline")
    allowed = await demonstration.buyer.patch(path, kept)

    assert (refused.status_code, refused.json()["code"]) == (409, "payment_started")
    assert allowed.json().get("code") != "payment_started"


async def test_what_the_page_took_goes_back_by_itself(demonstration):
    stores = demonstration.stores
    await demonstration.press(await demonstration.begin(), "pay")
    await settle(stores)
    await stores.box_office.cancel(demonstration.hold, deadline=Deadline.OVER, reason="cancelled_by_admin")
    await settle(stores)

    assert await send_refunds_once(stores) == 1

    shown = await demonstration.shown()
    assert (shown["refunded_minor"], shown["refund_due_minor"]) == (PRICE, 0)


async def test_the_page_of_an_ended_hold_takes_nothing(demonstration):
    stores, begun = demonstration.stores, await demonstration.begin()
    await persist_all(stores)
    await make_due(stores, demonstration.hold)
    await stores.box_office.cancel(demonstration.hold)
    await persist_all(stores)

    assert await close_begun_payments_once(stores) == 1

    assert (await demonstration.press(begun, "pay")).status_code == 404


async def test_without_the_setting_there_is_no_such_payment(client):
    answer = await client.post(f"/api/v1/payments/test/{uuid4()}", json={"outcome": "pay"})

    assert answer.status_code == 404


def test_production_does_not_start_with_it():
    """Production is what is reached by the network: neither the embedded servers nor sockets of this machine."""
    urls = {"redis_url": "redis://cache.internal/0", "queue_url": "redis://cache.internal/1", "jwt_secret": "s" * 32}

    with pytest.raises(ValidationError, match="TEST_PAYMENTS"):
        Settings(database_url="postgresql://db.internal/onsale", test_payments="on", **urls)

    assert Settings(test_payments="on").test_payments == "on"
