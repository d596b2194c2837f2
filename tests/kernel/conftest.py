"""After every test of the kernel: the books are balanced, and every key of the inventory has an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.books import differences
from tests.kernel.keys import orphans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from domain.engine import Stores


@pytest.fixture(autouse=True)
async def _balanced(request: pytest.FixtureRequest, stores: Stores) -> AsyncIterator[None]:
    yield
    if request.node.get_closest_marker("unbalanced"):
        return
    assert await differences(stores) == []
    assert await orphans(stores) == []
