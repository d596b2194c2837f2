"""What the machine draws: which events, accounts, orders and counters, and how far a worker gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from hypothesis import strategies as st

from domain.kernel.claims import OWN

if TYPE_CHECKING:
    from collections.abc import Collection

EVENTS = tuple(UUID(f"{digit}0000000-0000-4000-8000-000000000000") for digit in "1c2")
USERS = tuple(UUID(f"{digit}0000000-0000-4000-8000-000000000000") for digit in "789")
KEYS = tuple("abcdefgh")
"""Few enough that what is asked for meets what was asked for before. The first two events share a partition."""

NAMES = ("pool:main:left", "pool:vip", "promo:x", "terms:x", "thing:7")
"""Counters that an event may have besides its tickets."""

FREE = (f"user:{OWN}:vip", "thing:unlisted", f"holds:{OWN}", "seat:A-1", "seat:A-2")
"""Counters that orders claim and no event lists; the last are singles."""

HOLD_MS = 3_600_000
"""Longer than the test: a deadline passes when a rule lets it pass."""

NUMBERS = st.integers(0, 20)
"""Which of what there is; counted around."""

SIZES = st.sampled_from((8, 4, 3, 2, 1, 0))
COUNTERS = st.dictionaries(st.sampled_from(NAMES), SIZES, min_size=2, max_size=5)

UNITS = st.lists(st.tuples(NUMBERS, st.sampled_from((1, 2, 1, 0))), min_size=1, max_size=4)
"""Which counters, and how many of each; one may occur twice."""

ORDERED = st.none() | st.tuples(
    UNITS, st.integers(0, 1), st.booleans(), st.lists(UNITS, max_size=2), st.sampled_from((0, HOLD_MS, HOLD_MS))
)
"""Tickets alone; or units of any counters, the allowance of the account, whether the sizes matter, other lists
of units, how long they are held."""

ASKS = st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from(KEYS), st.integers(1, 3), ORDERED)
"""Event, account, key, quantity, what is ordered."""

PROCESSES = st.integers(0, 1)
ORDERS = st.integers(0, 2)
STEPS = ("write", "settle", "reject", "cancel", "reduce", "wipe", "restart")
FATES = st.permutations(STEPS).map(lambda steps: steps[: 1 + steps.index("settle")]) | st.lists(
    st.sampled_from(STEPS), max_size=4
)
"""How far a worker gets with a batch, and what happens meanwhile to the first booking or to Redis."""

MOVES = st.dictionaries(NUMBERS, st.sampled_from((-2, -1, 1, 2)), min_size=1, max_size=2)
"""Which counters are moved behind the engine's back, and by how much."""

FAULT_RECORDS_MIN = 3
"""Records in Redis that make it worth losing them."""


def pick(items: Collection[Any], number: int) -> Any:
    """One of the items, the same one for the same number."""
    return list(items)[number % len(items)]
