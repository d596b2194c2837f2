"""What goes wrong while somebody buys: lost connections, crowds, limits, servers away."""

from __future__ import annotations

import signal
from contextlib import nullcontext

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import log_in

CONFIRMED = "Your booking is confirmed"

STREAMING = "navigator.locks.query().then(({ held }) => held.length === 1)"
"""A tab that reads a stream holds its lock."""


@pytest.fixture
def buyer(shop, opened):
    """Opens the page of an event, logged in; returns the page and the account's address."""

    def buy_at(event):
        email = shop.account()
        page = opened(f"/login?next=/events/{event['id']}")
        log_in(page, email)
        return page, email

    return buy_at


def _book(page):
    page.get_by_role("button", name="Book").click()


def test_a_lost_answer_never_books_twice(shop, buyer):
    event = shop.event()
    page, email = buyer(event)
    keys = []

    def lose_the_first_two(route):
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) > 2:
            route.continue_()
            return
        # The server books; its answer does not arrive.
        route.fetch()
        route.abort("connectionreset")

    page.route("**/api/v1/bookings", lose_the_first_two)
    _book(page)
    expect(page.get_by_text("You will not book twice")).to_be_visible()

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(shop.bookings(email)) == 1


def test_a_page_that_is_loaded_again_in_the_middle_goes_on_with_the_same_booking(shop, buyer):
    event = shop.event()
    page, email = buyer(event)

    def book_and_never_answer(route):
        route.fetch()

    page.route("**/api/v1/bookings", book_and_never_answer, times=1)
    with page.expect_request("**/api/v1/bookings"):
        _book(page)
    page.reload()

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()
    assert len(shop.bookings(email)) == 1


def test_a_session_that_ends_in_the_middle_does_not_book_twice(shop, buyer):
    event = shop.event()
    page, email = buyer(event)

    def lose_the_answer_and_the_session(route):
        route.fetch()
        page.context.clear_cookies()
        route.abort("connectionreset")

    page.route("**/api/v1/bookings", lose_the_answer_and_the_session, times=1)
    _book(page)
    page.wait_for_url("**/login?*")
    log_in(page, email)

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()
    assert len(shop.bookings(email)) == 1


def test_a_buyer_without_a_connection_books_once_it_is_back(shop, buyer):
    event = shop.event()
    page, email = buyer(event)

    page.context.set_offline(True)
    _book(page)
    expect(page.get_by_text("The connection was lost")).to_be_visible()
    page.context.set_offline(False)

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()
    assert len(shop.bookings(email)) == 1


def test_two_buyers_and_one_ticket(shop, buyer):
    event = shop.event(capacity=1)
    pages, requests = [buyer(event)[0] for _ in range(2)], []
    for page in pages:
        page.route("**/api/v1/bookings", lambda route: requests.append(route))  # noqa: PLW0108  (it is given an attribute)
        with page.expect_request("**/api/v1/bookings"):
            _book(page)
    while len(requests) < len(pages):
        pages[0].wait_for_timeout(10)
    for request in requests:
        request.continue_()

    said = []
    for page in pages:
        outcome = page.get_by_role("heading", name=CONFIRMED).or_(page.get_by_text("Not enough tickets are left"))
        expect(outcome).to_be_visible()
        said.append(outcome.inner_text())
    assert sorted(said) == ["Not enough tickets are left", CONFIRMED]
    assert shop.remaining(event) == 0


def test_the_limit_of_an_account_is_told(shop, buyer):
    event = shop.event(max_per_user=2)
    page, email = buyer(event)
    shop.book(event, quantity=2, email=email)

    _book(page)

    expect(page.get_by_text("That would be too many tickets")).to_be_visible()


def test_while_the_servers_are_away_the_request_is_repeated_unseen(shop, buyer, valkey):
    event = shop.event()
    page, email = buyer(event)
    valkey.stop()

    _book(page)
    expect(page.get_by_text("Your request is repeated by itself")).to_be_visible()
    valkey.start()

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()
    assert len(shop.bookings(email)) == 1


def test_a_booking_is_followed_until_it_is_confirmed(shop, buyer, worker_process):
    event = shop.event()
    page, _ = buyer(event)
    worker_process.signal(signal.SIGSTOP)

    _book(page)
    expect(page.get_by_role("heading", name="Your tickets are taken")).to_be_visible()
    worker_process.signal(signal.SIGCONT)

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()


def test_tabs_share_one_stream_and_the_next_takes_over(shop, buyer, worker_process):
    event = shop.event()
    page, _ = buyer(event)
    streams = []
    page.context.on("request", lambda sent: streams.append(sent) if _is_stream_of_booking(sent) else None)
    worker_process.signal(signal.SIGSTOP)
    _book(page)
    expect(page.get_by_role("heading", name="Your tickets are taken")).to_be_visible()
    page.wait_for_function(STREAMING)

    tabs = [page.context.new_page() for _ in range(2)]
    for tab in tabs:
        tab.goto(page.url)
        expect(tab.get_by_role("heading", name="Your tickets are taken")).to_be_visible()
    page.wait_for_function("navigator.locks.query().then(({ pending }) => pending.length === 2)")
    at_first = len(streams)
    # The first tab goes elsewhere: its stream closes, and another tab opens one.
    page.goto("/")
    tabs[0].wait_for_function("navigator.locks.query().then(({ pending }) => pending.length === 1)")
    with tabs[0].context.expect_event("request", lambda sent: sent in streams) if len(streams) < 2 else nullcontext():
        pass
    taken_over = len(streams)
    worker_process.signal(signal.SIGCONT)

    for tab in tabs:
        expect(tab.get_by_role("heading", name=CONFIRMED)).to_be_visible()
    assert (at_first, taken_over) == (1, 2)


def _is_stream_of_booking(sent):
    return sent.headers.get("accept") == "text/event-stream" and sent.url.endswith("/status")


def test_a_page_out_of_sight_keeps_no_connection(shop, buyer, worker_process):
    event = shop.event()
    page, _ = buyer(event)
    worker_process.signal(signal.SIGSTOP)
    _book(page)
    expect(page.get_by_role("heading", name="Your tickets are taken")).to_be_visible()
    page.wait_for_function(STREAMING)

    _hide(page, hidden=True)
    page.wait_for_function("navigator.locks.query().then(({ held }) => held.length === 0)")
    worker_process.signal(signal.SIGCONT)
    _hide(page, hidden=False)

    expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()


def _hide(page, *, hidden):
    """Do what a browser does when its tab is covered or seen again."""
    page.evaluate(
        "(hidden) => { Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


class TestLimits:
    """With the limits of a deployment, the one of bookings being very low."""

    @pytest.fixture
    def limits(self):
        return {"LIMIT_BOOKING_CREATE": "1/3", "LIMIT_SIGNUP": "1000/min", "LIMIT_LOGIN_ADDRESS": "1000/min"}

    def test_too_many_requests_are_counted_down_and_go_on(self, shop, buyer):
        event = shop.event()
        page, email = buyer(event)
        shop.book(event, email=email)

        _book(page)
        expect(page.get_by_text("Too many requests")).to_be_visible()

        expect(page.get_by_role("heading", name=CONFIRMED)).to_be_visible()
        assert len(shop.bookings(email)) == 2
