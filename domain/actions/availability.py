"""What is left of the ticket types of an event, as the inventory has it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from domain.kernel.refusals import InventoryUnavailable
from domain.sales.availability import TypeAvailability, availability_of, counters_of
from domain.sales.events import ROOM, Terms

if TYPE_CHECKING:
    from uuid import UUID

    from domain.actions.terms import TermsCache
    from domain.store.postgres.ledger import Ledger
    from domain.store.redis.inventory import Inventory

ATTEMPTS_MAX = 3
"""Readings of one request, of which each but the last found that the terms had changed."""


class Offer(Struct, frozen=True):
    """The ticket types of an event with what is left of them at `now_ms`, hidden ones included.

    `room_left` are the tickets left of the event, whatever their type.
    """

    terms: Terms
    types: list[TypeAvailability]
    room_left: int
    now_ms: int


class Availability:
    """Reads what is left. One per process. PostgreSQL is read only when the terms of an event have changed."""

    def __init__(self, *, terms: TermsCache, inventory: Inventory, ledger: Ledger) -> None:
        self._terms = terms
        self._inventory = inventory
        self._ledger = ledger

    async def of(self, event_id: UUID) -> Offer:
        """What is left of each ticket type of an event, with one round trip to Redis.

        Raises:
            EventNotFound.
            InventoryUnavailable: the event has no inventory because it is being rebuilt.
        """
        terms = await self._terms.find(event_id)
        for _ in range(ATTEMPTS_MAX):
            if terms.closed:
                break
            found = await self._inventory.installed(event_id, counters_of(terms))
            if found.terms == terms.token and ROOM in found.taken:
                return _offer(terms, found.taken, now_ms=found.now_ms)
            before, terms = terms, await self._terms.load(event_id)
            if terms.token == before.token and found.terms is not None:
                # A change of the terms is not committed yet, or Redis is behind; PostgreSQL is the truth of the terms.
                return _offer(terms, found.taken, now_ms=found.now_ms)
        if not terms.closed:
            raise InventoryUnavailable.rebuilding()
        return _offer(terms, await self._ledger.taken_of_event(event_id), now_ms=terms.closes_ms)


def _offer(terms: Terms, taken: dict[str, int], *, now_ms: int) -> Offer:
    room_left = max(0, terms.sizes[ROOM] - taken.get(ROOM, 0))
    return Offer(terms, availability_of(terms, taken, now_ms=now_ms), room_left, now_ms)
