"""The API as its clients see it; the fixtures of tests/api."""

from tests.api.conftest import callers, cheap_passwords, client, limited_client, other_client, unlimited

__all__ = ["callers", "cheap_passwords", "client", "limited_client", "other_client", "unlimited"]
