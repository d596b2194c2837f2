"""Ticket types with prices: what can be chosen, what it costs, and promo codes."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.conftest import log_in

HELD = "Your tickets are held"


def _buy(shop, opened, event, **chosen):
    page, email = opened(f"/events/{event.id}"), shop.account()
    for name, quantity in chosen.items():
        page.get_by_label(name, exact=True).fill(str(quantity))
    page.get_by_role("button", name="Book").click()
    log_in(page, email)
    return page, email


def test_prices_and_what_is_left_are_shown_and_added_up(opened, priced):
    page = opened(f"/events/{priced.id}")

    page.get_by_label("Stalls: one more").click()
    page.get_by_label("Balcony: one more").click()

    expect(page.get_by_text("5 left")).to_be_visible()
    expect(page.get_by_text("at least 2")).to_be_visible()
    expect(page.get_by_label("Balcony", exact=True)).to_have_value("2")
    expect(page.locator("#total")).to_have_text("€49.50")
    expect(page.get_by_text("Backstage")).to_have_count(0)


def test_a_choice_is_kept_through_the_login_and_held_at_its_price(shop, opened, priced):
    page, email = _buy(shop, opened, priced, Stalls=2, Balcony=2)

    expect(page.get_by_label("Stalls", exact=True)).to_have_value("2")
    expect(page.locator("#total")).to_have_text("€75.00")
    page.get_by_role("button", name="Book").click()

    expect(page.get_by_role("heading", name=HELD)).to_be_visible()
    expect(page.locator(".clock")).to_contain_text("9:5")
    expect(page.get_by_role("button", name="Pay €75.00")).to_be_visible()
    assert [(each["status"], each["total_minor"]) for each in shop.bookings(email)] == [("held", 7500)]


def test_what_others_take_is_shown_at_once(shop, opened, priced):
    page, _ = _buy(shop, opened, priced, Stalls=3)
    watcher = opened(f"/events/{priced.id}")
    expect(watcher.get_by_text("5 left")).to_be_visible()

    page.get_by_role("button", name="Book").click()

    expect(watcher.get_by_text("2 left")).to_be_visible()


def test_a_promo_code_takes_off_what_it_says(shop, opened, priced):
    page, _ = _buy(shop, opened, priced, Stalls=2, **{"Promo code": "half"})
    expect(page.get_by_label("Promo code")).to_have_value("half")

    page.get_by_role("button", name="Book").click()

    expect(page.get_by_role("button", name="Pay €25.50")).to_be_visible()


def test_a_promo_code_shows_what_is_hidden(opened, priced):
    page = opened(f"/events/{priced.id}")

    page.get_by_label("Promo code").fill("nonsense")
    page.get_by_role("button", name="Apply").click()
    expect(page.get_by_text("This code is not valid for this event.")).to_be_visible()
    page.get_by_label("Promo code").fill("crew")
    page.get_by_role("button", name="Apply").click()

    expect(page.get_by_label("Backstage", exact=True)).to_be_visible()


def test_nothing_chosen_and_too_few_are_said(shop, opened, priced):
    page = opened(f"/events/{priced.id}")
    page.get_by_role("button", name="Book").click()
    expect(page.get_by_text("Choose your tickets first")).to_be_visible()
    page, _ = _buy(shop, opened, priced, Stalls=6)

    page.get_by_role("button", name="Book").click()

    expect(page.get_by_text("Not enough tickets are left")).to_be_visible()
