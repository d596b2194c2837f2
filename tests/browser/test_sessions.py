"""A session in the browser: no script sees a token, it is refreshed unseen, and a logout ends it everywhere."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import log_in


@pytest.fixture
def email(shop):
    return shop.account()


def test_no_script_sees_a_token(opened, email):
    page = opened("/login?next=/bookings")
    log_in(page, email)
    expect(page.get_by_role("heading", name="No bookings yet")).to_be_visible()

    seen = page.evaluate("[document.cookie, JSON.stringify(localStorage), JSON.stringify(sessionStorage)].join(' ')")

    assert "eyJ" not in seen
    assert {cookie["name"] for cookie in page.context.cookies()} == {"onsale_access", "onsale_refresh"}


def test_a_session_is_refreshed_unseen(opened, email):
    page = opened("/login?next=/bookings")
    log_in(page, email)
    page.context.clear_cookies(name="onsale_access")

    page.goto("/bookings")

    expect(page.get_by_role("heading", name="No bookings yet")).to_be_visible()
    assert "onsale_access" in {cookie["name"] for cookie in page.context.cookies()}


def test_two_tabs_refresh_once(opened, email):
    page = opened("/login?next=/bookings")
    log_in(page, email)
    other = page.context.new_page()
    refreshes = []
    page.context.on("request", lambda sent: refreshes.append(sent.url) if "refresh_token" in sent.url else None)
    page.context.clear_cookies(name="onsale_access")

    for tab in (page, other):
        tab.goto("/bookings", wait_until="commit")

    for tab in (page, other):
        expect(tab.get_by_role("heading", name="No bookings yet")).to_be_visible()
    assert len(refreshes) == 1


def test_a_logout_ends_the_session_in_every_tab(opened, email):
    page = opened("/login?next=/bookings")
    log_in(page, email)
    other = page.context.new_page()
    other.goto("/bookings")
    expect(other.get_by_role("heading", name="No bookings yet")).to_be_visible()

    page.get_by_role("button", name="Log out").click()

    expect(page.get_by_role("link", name="Log in")).to_be_visible()
    other.wait_for_url("**/login?next=%2Fbookings")
    assert page.context.cookies() == []


def test_a_session_that_ended_elsewhere_leads_to_the_login_and_back(opened, email):
    page = opened("/login?next=/bookings")
    log_in(page, email)
    page.context.clear_cookies()

    page.goto("/bookings")
    log_in(page, email)

    expect(page.get_by_role("heading", name="No bookings yet")).to_be_visible()


@pytest.mark.parametrize(
    "next_page", ["https://evil.example/", "//evil.example/", "javascript:alert(1)", "/\\evil.example"]
)
def test_a_login_never_leads_to_another_site(opened, shop, email, next_page):
    page = opened(f"/login?next={next_page}")

    log_in(page, email)

    assert page.evaluate("location.origin") == shop.url


def test_a_password_is_not_sent_before_the_script_of_the_page_runs(opened):
    """The browser itself would send the form: into the address, where logs and histories keep it."""
    page = opened("/")
    page.route("**/entry.*js*", lambda route: route.abort())

    page.goto("/login")
    page.get_by_label("Password").fill("a fine long passphrase")
    page.get_by_label("Password").press("Enter")

    expect(page.get_by_role("button", name="Log in")).to_be_disabled()
    assert "passphrase" not in page.url
