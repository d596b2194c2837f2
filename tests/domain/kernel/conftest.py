"""The books are checked after every test here."""

import pytest

from tests.domain.balance import balanced

__all__ = ["balanced"]

pytest.register_assert_rewrite("tests.domain.kernel.engine_access", "tests.domain.kernel.machine")
