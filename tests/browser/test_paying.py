"""Paying on the page of the test provider, from the hold to the confirmed booking."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import log_in
from tests.selling import make_priced_event, sell, ticket_type


@pytest.fixture
def limits():
    return {"RATE_LIMITS": "off", "TEST_PAYMENTS": "on"}


@pytest.fixture
def pay(shop, opened, paid_event):
    """Holds two tickets and presses the button to pay; returns the page of the provider, and the account's address."""

    def begun():
        email = shop.account()
        booking = shop.hold(paid_event, email=email)
        page = opened(f"/login?next=/bookings/{booking['id']}")
        log_in(page, email)
        page.get_by_role("button", name="Pay €51.00").click()
        expect(page.get_by_role("heading", name="Test payment")).to_be_visible()
        return page, email

    return begun


@pytest.fixture
async def paid_event(clean):
    """An event that is paid on the page."""
    made = await make_priced_event(clean, payment="test")
    return await sell(clean, made, ticket_type(made.id, "Stalls", price_minor=2550))


def test_a_hold_that_is_paid_is_confirmed(shop, pay):
    page, email = pay()
    assert Axe().run(page).response["violations"] == []

    page.get_by_role("button", name="Pay", exact=True).click()

    expect(page.get_by_role("heading", name="Your booking is confirmed")).to_be_visible()
    expect(page.get_by_text("€51.00").first).to_be_visible()
    assert shop.bookings(email)[0]["status"] == "confirmed"


def test_a_payment_that_is_declined_leads_back_to_the_hold(shop, pay):
    page, email = pay()

    page.get_by_role("button", name="Decline").click()

    expect(page.get_by_role("heading", name="Your tickets are held")).to_be_visible()
    assert shop.bookings(email)[0]["status"] == "held"
