"""A hold on its page: its clock, its prices, and what can be done with it."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import log_in
from tests.selling import make_priced_event, sell, ticket_type


@pytest.fixture
async def short_hold(clean):
    """An event whose holds last five seconds, less than the API allows."""
    made = await make_priced_event(clean, hold_seconds=5)
    return await sell(clean, made, ticket_type(made.id, "Stalls", price_minor=2550))


@pytest.fixture
def hold(shop, opened, priced):
    """Holds two tickets of each type; returns the page of the hold, and the account's address."""

    def held():
        email = shop.account()
        booking = shop.hold(priced, email=email)
        page = opened(f"/login?next=/bookings/{booking['id']}")
        log_in(page, email)
        expect(page.get_by_role("heading", name="Your tickets are held")).to_be_visible()
        return page, email

    return held


def test_its_clock_its_lines_and_its_total_are_shown(hold):
    page, _ = hold()

    expect(page.locator(".clock")).to_contain_text(":")
    expect(page.get_by_text("Stalls", exact=False).first).to_be_visible()
    expect(page.get_by_text("€51.00")).to_be_visible()
    expect(page.get_by_role("button", name="Pay €75.00")).to_be_visible()


def test_it_runs_out_on_the_screen(shop, opened, short_hold):
    page, email = opened("/login"), shop.account()
    log_in(page, email)
    booking = shop.hold(short_hold, email=email)
    page.goto(f"/bookings/{booking['id']}")

    expect(page.get_by_role("heading", name="The time is over")).to_be_visible()

    expect(page.locator(".clock")).to_have_count(0)
    expect(page.get_by_role("link", name="Choose again")).to_be_visible()
    assert shop.bookings(email)[0]["status"] == "expired"


def test_it_gets_more_time_and_is_given_back(shop, hold):
    page, email = hold()
    before = shop.bookings(email)[0]["expires_at"]

    with page.expect_response("**/extend"):
        page.get_by_role("button", name="More time").click()
    after = shop.bookings(email)[0]["expires_at"]
    page.get_by_role("button", name="Give back", exact=True).click()
    page.get_by_role("button", name="Yes, cancel it").click()

    expect(page.get_by_role("heading", name="This booking is cancelled")).to_be_visible()
    assert after > before


def test_some_of_its_tickets_are_given_back_at_their_price(shop, hold):
    page, email = hold()

    page.get_by_role("button", name="Give back some").click()
    page.get_by_label("Stalls to keep, of 2").fill("1")
    page.get_by_label("Balcony to keep, of 2").fill("0")
    page.get_by_role("button", name="Give back the others").click()

    expect(page.get_by_role("button", name="Pay €25.50")).to_be_visible()
    assert [(each["quantity"], each["total_minor"]) for each in shop.bookings(email)] == [(1, 2550)]
