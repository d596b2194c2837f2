"""Where a Chromium is; without one, the tests of the pages are skipped."""

from __future__ import annotations

import os
import shutil

import pytest

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
