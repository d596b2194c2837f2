"""A check after every test of a folder: the books are balanced, and every inventory key has an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.books import differences
from tests.domain.orphan_keys import orphans

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from domain.engine import Stores


@pytest.fixture(autouse=True)
async def balanced(request: pytest.FixtureRequest, stores: Stores) -> AsyncIterator[None]:
    yield
    if request.node.get_closest_marker("unbalanced"):
        return
    assert await differences(stores) == []
    assert await orphans(stores) == []
