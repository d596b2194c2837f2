"""What tests of jobs share."""

from __future__ import annotations

from collections import Counter

import pytest


@pytest.fixture
def queue(stores):
    return stores.queue


@pytest.fixture
def ran():
    """How often each job of a test was run, by its first argument."""
    return Counter()


@pytest.fixture
def note(ran):
    async def note(_ctx, word):
        ran[word] += 1

    return note
