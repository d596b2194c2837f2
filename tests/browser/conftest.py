"""Pages in a real browser. The body of a test runs in the thread of the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.api.callers import PASSWORD
from tests.browser.browsers import BrowserThread
from tests.browser.chromium import need_chromium
from tests.browser.shop import Shop
from tests.selling import make_priced_event, promo_code, sell, ticket_pool, ticket_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import BrowserContext, Page

    from tests.processes import Process

PATIENCE_MS = 30_000
"""How long a busy machine may take for what the test waits for."""

expect.set_options(timeout=PATIENCE_MS)

_thread = BrowserThread()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: Any) -> bool:
    """Run the body of a test in the thread of the browser."""
    names = pyfuncitem._fixtureinfo.argnames
    _thread.run(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in names})
    return True


@pytest.fixture(scope="session")
def browser() -> Iterator[BrowserThread]:
    """The browser of this process of the run."""
    need_chromium()
    yield _thread
    _thread.close()


@pytest.fixture
def limits() -> dict[str, str]:
    """The settings of the API's limits; a test of limits has others."""
    return {"RATE_LIMITS": "off"}


@pytest.fixture
def worker_process(clean, processes) -> Process:  # noqa: ARG001  (clean servers)
    """The worker, which a test can stop and let go on."""
    return processes.worker()


@pytest.fixture
def shop(clean, processes, worker_process, limits) -> Iterator[Shop]:  # noqa: ARG001  (clean servers)
    """An API and a worker."""
    shop = Shop(processes.api(**limits))
    yield shop
    shop.close()


@pytest.fixture
async def priced(clean):
    """An event with two types with prices, of which one has a pool of five, a hidden one, and two codes."""
    made = await make_priced_event(clean, title="Priced Night", max_per_user=20)
    stalls = ticket_pool(made.id)
    hidden = ticket_type(made.id, "Backstage", price_minor=9000, hidden=True, position=3)
    stalls_type = ticket_type(
        made.id, "Stalls", price_minor=2550, pools=(stalls.id,), position=1, description="Rows 1 to 20"
    )
    balcony = ticket_type(made.id, "Balcony", price_minor=1200, position=2, min_per_booking=2)
    codes = [
        promo_code(made.id, "HALF", percent_off=50),
        promo_code(made.id, "CREW", unlocks_hidden=True, ticket_type_ids=(hidden.id,)),
    ]
    return await sell(clean, made, stalls_type, balcony, hidden, pools=[(stalls, 5)], codes=codes)


class Faults(list[str]):
    """Errors of scripts, and violations of the content security policy, in the pages of a test."""


@pytest.fixture
def faults() -> Iterator[Faults]:
    """What pages complained of; a test that ends with any has failed."""
    found = Faults()
    yield found
    assert found == []


@pytest.fixture
def opened(browser, shop, faults) -> Iterator[Callable[..., Page]]:
    """Opens a page in a browser of its own: with its own cookies, and its own size or language if given."""
    contexts: list[BrowserContext] = []

    def open_page(path: str = "/", **options: Any) -> Page:
        settings = {"locale": "en-GB", "timezone_id": "Europe/Berlin", "base_url": shop.url}
        context = browser.browser().new_context(**(settings | options))
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        page = context.new_page()
        listen(page, faults)
        if path:
            page.goto(path)
        return page

    yield open_page
    browser.run(lambda: [context.close() for context in contexts])


def listen(page: Page, faults: Faults) -> None:
    """Collect what a page complains of. Answers with an error status and cut connections belong to tests."""
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda told: _note(told, faults))


def _note(told: Any, faults: Faults) -> None:
    if told.type == "error" and "Failed to load resource" not in told.text:
        faults.append(told.text)


def log_in(page: Page, email: str) -> None:
    """Fill in the form of the page that is shown, and wait for the next page."""
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(lambda url: "/login" not in url)
