"""The names of counters, for the code that computes claims; no other code knows what a counter counts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

POOL_MAIN = "pool:main"
"""The counter of an event's tickets: of every ticket that takes room."""

USER_PREFIX = "user:"
HOLDS_PREFIX = "holds:"
PROMO_PREFIX = "promo:"


def holds_counter(user_id: UUID) -> str:
    """The counter of the holds that one account has of an event; a hold claims it until it is confirmed."""
    return f"{HOLDS_PREFIX}{user_id.hex}"


def user_counter(user_id: UUID) -> str:
    """The counter of the tickets that one account holds of an event."""
    return f"{USER_PREFIX}{user_id.hex}"


def user_type_counter(user_id: UUID, type_id: UUID) -> str:
    """The counter of the tickets of one type that one account holds."""
    return f"{USER_PREFIX}{user_id.hex}:{type_id.hex}"


def pool_counter(pool_id: UUID) -> str:
    """The counter of a part of the event's room or stock."""
    return f"pool:{pool_id.hex}"


def promo_counter(code_id: UUID) -> str:
    """The counter of the bookings that use a promo code."""
    return f"{PROMO_PREFIX}{code_id.hex}"


def promo_user_counter(code_id: UUID, user_id: UUID) -> str:
    """The counter of the bookings of one account that use a promo code."""
    return f"{PROMO_PREFIX}{code_id.hex}:{user_id.hex}"
