"""The API as its clients see it, as the tests in tests/api start it."""

from tests.api.conftest import callers, client, limited_client, other_client, unlimited

__all__ = ["callers", "client", "limited_client", "other_client", "unlimited"]
