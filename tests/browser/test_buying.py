"""A buyer's journey: from what is on to a confirmed booking, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import icalendar
from playwright.sync_api import expect

from tests.api.callers import PASSWORD
from tests.browser.conftest import log_in


def test_a_newcomer_signs_up_and_books_without_losing_the_choice(shop, opened):
    event = shop.event(title="Winter Gala", capacity=10, max_per_user=4)
    page = opened("/")

    page.get_by_role("link", name="Winter Gala").click()
    page.get_by_label("How many?").fill("3")
    page.get_by_role("button", name="Book").click()
    page.get_by_role("link", name="Sign up").last.click()
    page.get_by_label("E-mail address").fill("newcomer@example.org")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign up").click()
    expect(page.get_by_label("How many?")).to_have_value("3")
    page.get_by_role("button", name="Book").click()

    expect(page.get_by_role("heading", name="Your booking is confirmed")).to_be_visible()
    assert [(each["quantity"], each["status"]) for each in shop.bookings("newcomer@example.org")] == [(3, "confirmed")]
    assert shop.remaining(event) == 7


def test_a_booking_is_found_put_into_a_calendar_and_cancelled(shop, opened):
    event, email = shop.event(title="Chamber, Music; by \\ Candlelight"), shop.account()
    shop.book(event, quantity=2, email=email)
    page = opened("/bookings")
    log_in(page, email)

    page.get_by_role("link", name="Chamber, Music").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Add to calendar").click()
    (entry,) = icalendar.Calendar.from_ical(download.value.path().read_bytes()).walk("VEVENT")
    page.get_by_role("button", name="Cancel booking").click()
    page.get_by_role("button", name="Yes, cancel it").click()

    expect(page.get_by_role("heading", name="This booking is cancelled")).to_be_visible()
    assert (str(entry["SUMMARY"]), entry["DTSTART"].dt) == (event["title"], _second(event["starts_at"]))
    assert shop.bookings(email)[0]["status"] == "cancelled"


def test_some_tickets_of_a_booking_are_given_back(shop, opened):
    event, email = shop.event(capacity=10), shop.account()
    booking = shop.book(event, quantity=3, email=email)
    page = opened(f"/login?next=/bookings/{booking['id']}")
    log_in(page, email)

    page.get_by_role("button", name="Give back some").click()
    page.get_by_label("Tickets to keep, of 3").fill("1")
    page.get_by_role("button", name="Give back the others").click()

    expect(page.get_by_role("button", name="Give back some")).to_have_count(0)
    assert [each["quantity"] for each in shop.bookings(email)] == [1]
    assert shop.remaining(event) == 9


def _second(text):
    return datetime.fromisoformat(text).replace(microsecond=0)


def test_the_sale_opens_by_the_servers_clock(shop, opened):
    opens_at = datetime.now(UTC) + timedelta(seconds=4)
    event = shop.event(sales_open_at=opens_at.isoformat())
    page = opened(None)
    # A telephone whose clock is an hour behind.
    page.clock.install(time=datetime.now(UTC) - timedelta(hours=1))
    page.goto(f"/events/{event['id']}")

    expect(page.locator(".clock").filter(has_text="0:0")).to_be_visible()
    page.clock.run_for(10_000)

    expect(page.get_by_role("button", name="Book")).to_be_visible()


def test_tickets_that_are_left_are_live_and_a_sold_out_event_says_so(shop, opened):
    event = shop.event(capacity=5)
    page = opened(f"/events/{event['id']}")
    expect(page.get_by_text("5 of 5 tickets left")).to_be_visible()

    shop.book(event, quantity=3)
    expect(page.get_by_text("2 of 5 tickets left")).to_be_visible()
    shop.book(event, quantity=2)

    expect(page.get_by_text("When somebody cancels")).to_be_visible()
    expect(page.get_by_role("button", name="Book")).to_have_count(0)
