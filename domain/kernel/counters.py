"""Counters: the names of what is scarce."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

POOL_MAIN = "pool:main"
"""The counter of an event's places when it has one pool of them."""

USER_PREFIX = "user:"


def user_counter(user_id: UUID) -> str:
    """The counter of the tickets one account may still take."""
    return f"{USER_PREFIX}{user_id.hex}"
