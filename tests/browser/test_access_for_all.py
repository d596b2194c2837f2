"""Pages are for everybody: axe-core finds no violation of WCAG 2.2 AA, the keyboard is enough, and so are 360 px."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.api.access.test_roles import NOBODYS_ID
from tests.api.callers import PASSWORD
from tests.browser.conftest import log_in

RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
PHONE = {"width": 360, "height": 780}
LONG = "Donaudampfschifffahrtsgesellschaftskapitänskajütenschlüssel" * 2


@pytest.fixture
def tour(shop, priced):
    """The states of the pages: an account with a booking, and a path with what to wait for, by name."""
    later = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    email, on_sale = shop.account(), shop.event(title=LONG, location=LONG, description=LONG)
    full, soon, paused = shop.event(capacity=1), shop.event(sales_open_at=later), shop.event()
    cancelled = shop.event()
    booking, hold = shop.book(full, email=email), shop.hold(priced, email=email)
    shop.change(paused, paused=True)
    shop.cancel(cancelled)
    return email, {
        "what is on": ("/", "text=Sold out"),
        "nothing found": ("/?q=nothing", "text=Nothing matches"),
        "on sale": (f"/events/{on_sale['id']}", "#book"),
        "ticket types": (f"/events/{priced.id}", "text=Balcony"),
        "a wrong code": (f"/events/{priced.id}?code=wrong", "text=not valid"),
        "a hold": (f"/bookings/{hold['id']}", "text=More time"),
        "sold out": (f"/events/{full['id']}", "text=When somebody cancels"),
        "opens soon": (f"/events/{soon['id']}", ".clock"),
        "paused": (f"/events/{paused['id']}", "text=Sales are paused"),
        "cancelled": (f"/events/{cancelled['id']}", "text=This event is cancelled"),
        "not found": (f"/events/{NOBODYS_ID}", "text=There is nothing here"),
        "my bookings": ("/bookings", "text=confirmed"),
        "a booking": (f"/bookings/{booking['id']}", "text=The tickets are yours"),
        "no booking": (f"/bookings/{NOBODYS_ID}", "text=There is no such booking"),
    }


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_violates_wcag(opened, tour, scheme):
    email, states = tour
    page = opened("/signup", color_scheme=scheme)
    violations = {"sign up": _violations(page)}
    page.get_by_role("button", name="Sign up").click()
    violations["faults of the form"] = _violations(page)
    page.goto("/login")
    violations["log in"] = _violations(page)
    log_in(page, email)

    for name, (path, shown) in states.items():
        page.goto(path)
        expect(page.locator(shown).first).to_be_visible()
        violations[name] = _violations(page)
    page.goto(states["a booking"][0])
    page.get_by_role("button", name="Cancel booking").click()
    violations["a question"] = _violations(page)

    assert {name: found for name, found in violations.items() if found} == {}


def _violations(page):
    found = Axe().run(page, options=RULES).response["violations"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]


def test_no_page_scrolls_sideways_on_a_narrow_phone(opened, tour):
    email, states = tour
    page = opened("/login", viewport=PHONE)
    log_in(page, email)

    widths = {}
    for name, (path, shown) in {"log in": ("/login", "#entry"), **states}.items():
        page.goto(path)
        expect(page.locator(shown).first).to_be_visible()
        widths[name] = page.evaluate("document.documentElement.scrollWidth")

    assert {name: width for name, width in widths.items() if width > PHONE["width"]} == {}


def test_the_keyboard_is_enough_to_book_and_to_cancel(shop, opened):
    event, email = shop.event(title="Keyboard Concerto"), shop.account()
    page = opened("/")

    _tab_to(page, "Skip to the content")
    page.keyboard.press("Enter")
    _tab_to(page, "Keyboard Concerto")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/events/{event['id']}")
    _tab_to(page, "quantity")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.wait_for_url("**/login?*")
    _tab_to(page, "email")
    page.keyboard.type(email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/events/*")
    # The button to book has the focus.
    expect(page.get_by_role("button", name="Book")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your booking is confirmed")).to_be_visible()
    _tab_to(page, "Cancel booking")
    page.keyboard.press("Enter")
    _tab_to(page, "Yes, cancel it")
    page.keyboard.press("Enter")

    expect(page.get_by_role("heading", name="This booking is cancelled")).to_be_visible()
    assert [each["quantity"] for each in shop.bookings(email)] == [2]


TABS_MAX = 40

FOCUSED = "document.activeElement.id + ' ' + document.activeElement.textContent.trim()"


def _tab_to(page, name):
    """Press the tabulator until something with this id or text has the focus."""
    for _ in range(TABS_MAX):
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if name in focused.split(" ", 1):
            return
    message = f"{name} cannot be reached with the tabulator"
    raise AssertionError(message)
