"""Writes a picture of each state of the pages to the folder SCREENSHOTS: `make screenshots`."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.api.access.test_roles import NOBODYS_ID
from tests.browser.conftest import log_in

FOLDER = Path(os.environ.get("SCREENSHOTS", "screenshots"))
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 780}


def _take(page, name, *, full=True):
    FOLDER.mkdir(exist_ok=True, parents=True)
    page.screenshot(path=FOLDER / f"{name}.png", full_page=full, animations="disabled")


@pytest.fixture
def events(shop):
    """Events in the states of a sale, by a short name."""
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    about = "One night, one stage. Doors open an hour before.\n\nBring somebody you like: tickets are free."
    found = {
        "gala": shop.event(
            title="Winter Gala at the Old Power Station", capacity=650, description=about, max_per_user=4
        ),
        "few": shop.event(title="Improv Night in the Cellar", location="The Cellar, Mill Lane 7", capacity=40),
        "full": shop.event(title="Repair Your Synthesizer", location="Makers' Yard, Workshop 3", capacity=2),
        "soon": shop.event(title="Open-Air Cinema", location="Castle Meadow", capacity=2000, sales_open_at=later),
        "paused": shop.event(title="Chamber Music by Candlelight", location="St. Anne's Church", capacity=120),
    }
    shop.change(found["paused"], paused=True)
    for _ in range(4):
        shop.book(found["few"], quantity=8)
    shop.book(found["full"], quantity=2)
    return found


def test_a_wide_screen_in_the_light(shop, opened, events):
    page, email = opened("/", viewport=WIDE), shop.account()

    _take(page, "01-whats-on")
    page.goto("/?q=nothing+like+this")
    _take(page, "02-nothing-found")
    page.goto(f"/events/{events['gala']['id']}")
    _take(page, "03-event-on-sale")
    page.get_by_label("How many?").fill("2")
    page.get_by_role("button", name="Book").click()
    page.get_by_label("Password").fill("wrong")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("is wrong")).to_be_visible()
    _take(page, "04-login-refused")
    log_in(page, email)
    page.get_by_role("button", name="Book").click()
    expect(page.get_by_role("heading", name="Your booking is confirmed")).to_be_visible()
    _take(page, "05-booking-confirmed")
    page.goto("/bookings")
    expect(page.get_by_text("confirmed")).to_be_visible()
    _take(page, "06-my-bookings")
    page.goto(f"/events/{events['full']['id']}")
    _take(page, "07-sold-out")
    page.goto(f"/events/{events['soon']['id']}")
    expect(page.locator(".clock")).to_be_visible()
    _take(page, "08-opens-soon")


def test_prices_and_a_hold(shop, opened, priced):
    page, email = opened(f"/events/{priced.id}", viewport=WIDE), shop.account()

    page.get_by_label("Stalls: one more").click()
    page.get_by_label("Balcony: one more").click()
    _take(page, "15-ticket-types")
    page.get_by_role("button", name="Book").click()
    log_in(page, email)
    page.get_by_role("button", name="Book").click()
    expect(page.get_by_role("button", name="More time")).to_be_visible()
    _take(page, "16-hold")
    phone = opened(f"/login?next={page.url}", viewport=PHONE, color_scheme="dark")
    log_in(phone, email)
    expect(phone.get_by_role("button", name="More time")).to_be_visible()
    _take(phone, "17-phone-hold")
    phone.goto(f"/events/{priced.id}?code=wrong")
    _take(phone, "18-phone-ticket-types")


def test_a_phone_in_the_dark(shop, opened, events):
    page, email = opened("/", viewport=PHONE, color_scheme="dark"), shop.account()
    shop.book(events["gala"], email=email)

    _take(page, "09-phone-whats-on")
    page.goto(f"/events/{events['few']['id']}")
    _take(page, "10-phone-event")
    page.goto(f"/events/{events['paused']['id']}")
    _take(page, "11-phone-paused")
    page.goto(f"/events/{NOBODYS_ID}")
    _take(page, "12-phone-not-found")
    page.goto("/signup")
    page.get_by_label("E-mail address").fill("somebody@example.org")
    page.get_by_label("Password").fill("short")
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_text("Use at least 8 characters")).to_be_visible()
    _take(page, "13-phone-signup-refused")
    page.goto("/login?next=/bookings")
    log_in(page, email)
    page.get_by_role("link", name="Winter Gala").click()
    expect(page.get_by_role("heading", name="Your booking is confirmed")).to_be_visible()
    _take(page, "14-phone-booking")
