"""The start of an event on the pages: the time at the venue, wherever the buyer is and however old the browser is."""

from __future__ import annotations

import re
from datetime import datetime

from playwright.sync_api import expect

from domain.sales.zones import instant_of
from tests.browser.conftest import log_in

COYHAIQUE = "America/Coyhaique"
"""A zone since 2025."""

FROM_2024 = """
    const Format = Intl.DateTimeFormat;
    Intl.DateTimeFormat = function (locales, options) {
        if (options?.timeZone === "America/Coyhaique") throw new RangeError("Invalid time zone specified");
        return new Format(locales, options);
    };
"""
"""What a browser that knows no newer zones does."""

EVENING = datetime(2090, 12, 1, 20)  # noqa: DTZ001  (a local time)

SHOWN = re.compile(r"1 Dec.*20:00")


def test_every_page_shows_the_time_at_the_venue_in_a_browser_that_does_not_know_its_zone(shop, opened):
    starts_at = instant_of(EVENING, COYHAIQUE).isoformat()
    event, email = shop.event(title="Southern Lights", time_zone=COYHAIQUE, starts_at=starts_at), shop.account()
    booking = shop.book(event, email=email)
    page = opened(None)
    page.add_init_script(FROM_2024)

    page.goto("/bookings")
    log_in(page, email)
    expect(page.get_by_text(SHOWN)).to_be_visible()
    for path in (f"/bookings/{booking['id']}", f"/events/{event['id']}"):
        page.goto(path)
        expect(page.get_by_text(SHOWN)).to_be_visible()


def test_an_event_without_a_zone_is_shown_in_the_buyers_time_everywhere(shop, opened):
    """The browser is in Berlin."""
    event, email = shop.event(starts_at="2090-12-01T19:00:00Z"), shop.account()
    booking = shop.book(event, email=email)
    page = opened("/bookings")
    log_in(page, email)

    expect(page.get_by_text(SHOWN)).to_be_visible()
    for path in (f"/bookings/{booking['id']}", f"/events/{event['id']}"):
        page.goto(path)
        expect(page.get_by_text(SHOWN)).to_be_visible()
