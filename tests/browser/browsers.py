"""The browser that tests drive: a Chromium of the system, started once for each process of the test run.

Playwright's synchronous interface keeps an event loop running in its thread. The tests of the API need that thread, so
the browser, its fixtures and the bodies of its tests have a thread of their own.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from playwright.sync_api import sync_playwright

from tests.browser.chromium import need_chromium

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser

Answer = TypeVar("Answer")


class BrowserThread:
    """The thread of the browser, which starts with the first test that needs it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "browser")
        self._playwright: Any = None
        self._browser: Browser | None = None

    def run(self, work: Callable[..., Answer], *arguments: Any, **named: Any) -> Answer:
        """Call `work` in the thread and wait for it."""
        return self._thread.submit(work, *arguments, **named).result()

    def browser(self) -> Browser:
        """The browser; call this in the thread."""
        if self._browser is None:
            self._playwright = sync_playwright().start()
            # Without a sandbox: containers of CI run as root, and only pages of this repository are opened.
            self._browser = self._playwright.chromium.launch(
                executable_path=need_chromium(), args=["--no-sandbox", "--disable-dev-shm-usage"]
            )
        return self._browser

    def close(self) -> None:
        """End the browser and the thread."""
        self.run(self._close)
        self._thread.shutdown()

    def _close(self) -> None:
        if self._browser is not None:
            self._browser.close()
            self._playwright.stop()
