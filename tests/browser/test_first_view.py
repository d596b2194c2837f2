"""The first view of an event: small, few requests, readable and usable before any script, readable by programs."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

FIRST_VIEW_BYTES_MAX = 60 * 1024
FIRST_VIEW_REQUESTS_MAX = 5


@pytest.fixture
def event(shop):
    return shop.event(title="Winter Gala", description="One night, one stage. " * 40, max_per_user=4)


def test_it_is_small_and_takes_few_requests(opened, event):
    page = opened(None)
    sent = []
    page.on("requestfinished", lambda request: sent.append(request))  # noqa: PLW0108  (it is given an attribute)

    with page.expect_response(f"**/api/v1/events/{event['id']}/availability"):
        page.goto(f"/events/{event['id']}")
    sizes = [request.sizes() for request in sent]

    assert len(sent) <= FIRST_VIEW_REQUESTS_MAX
    assert sum(size["responseHeadersSize"] + size["responseBodySize"] for size in sizes) <= FIRST_VIEW_BYTES_MAX


def test_it_is_usable_without_a_script(opened, event):
    page = opened(f"/events/{event['id']}", java_script_enabled=False)

    expect(page.get_by_role("heading", name="Winter Gala")).to_be_visible()
    page.get_by_label("How many?").fill("3")
    page.get_by_role("button", name="Book").click()

    expect(page.get_by_role("heading", name="Log in")).to_be_visible()
    assert "quantity=3" in page.url
    assert event["id"] in page.url


def test_the_policy_lets_programs_read_the_event(opened, event):
    """JSON-LD is data and no script, so the policy does not stop it; a violation would be a fault of the page."""
    page = opened(f"/events/{event['id']}")

    data = json.loads(page.locator('script[type="application/ld+json"]').text_content())

    assert (data["@type"], data["name"]) == ("Event", "Winter Gala")


def test_a_script_that_is_put_into_the_page_does_not_run(opened, event, faults):
    page = opened(f"/events/{event['id']}")

    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hacked = 1\">')")
    page.evaluate("document.head.append(Object.assign(document.createElement('script'), {text: 'window.hacked = 1'}))")

    assert page.evaluate("window.hacked") is None
    assert len(faults) >= 1
    assert all("Content Security Policy" in fault for fault in faults)
    faults.clear()
