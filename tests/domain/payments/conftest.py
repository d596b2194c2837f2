"""The books are checked after every test here."""

from tests.domain.balance import balanced

__all__ = ["balanced"]
