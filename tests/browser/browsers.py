"""The browser that tests drive: a Chromium of the system, started once for each process of the test run.

Playwright's synchronous interface keeps an event loop running in its thread. The tests of the API need that thread, so
the browser, its fixtures and the bodies of its tests have a thread of their own.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Browser

Answer = TypeVar("Answer")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

INSTALL = "no Chromium was found: install one (Debian: apt install chromium), or set CHROMIUM=/path/to/chromium"

REQUIRED = "BROWSER_TESTS"
"""Set to `required` where the tests must run: without a Chromium they fail instead of being skipped."""


def chromium() -> str | None:
    """The Chromium of the setting CHROMIUM, or of the system; None without one."""
    named = os.environ.get("CHROMIUM")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, NAMES)), None)


def need_chromium() -> str:
    """The Chromium; without one, the test is skipped or fails."""
    found = chromium()
    if found is None:
        (pytest.fail if os.environ.get(REQUIRED) == "required" else pytest.skip)(INSTALL)
    return found


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
