"""The names of counters, for the code that computes claims; no other code knows what a counter counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

POOL_MAIN = "pool:main"
"""The counter of an event's tickets. An event has one pool of them."""

USER_PREFIX = "user:"
HOLDS_PREFIX = "holds:"


def holds_counter(user_id: UUID) -> str:
    """The counter of the holds that one account has of an event; a hold claims it until it is confirmed."""
    return f"{HOLDS_PREFIX}{user_id.hex}"


def user_counter(user_id: UUID) -> str:
    """The counter of the tickets that one account holds of an event."""
    return f"{USER_PREFIX}{user_id.hex}"
