"""The sales terms of events, as a process caches them."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from domain.kernel.refusals import Unavailable
from domain.platform.coalescing import Coalesced

if TYPE_CHECKING:
    from uuid import UUID

    from domain.sales.events import Terms
    from domain.store.postgres.events.catalog import Catalog
    from domain.store.postgres.events.reads import EventReads
    from domain.store.redis.inventory import Inventory

TERMS_CACHED_MAX = 10_000
"""Events whose terms a process caches. The scripts verify the terms, so an evicted entry costs one read."""


class TermsCache:
    """Terms by event, the least recently changed evicted first. PostgreSQL is the truth of them."""

    def __init__(self, events: EventReads, catalog: Catalog, inventory: Inventory) -> None:
        self._inventory = inventory
        self._events = events
        self._catalog = catalog
        self._terms: OrderedDict[UUID, Terms] = OrderedDict()
        self._loads = Coalesced(self.read, too_many=_too_many)

    def cached(self, event_id: UUID) -> Terms | None:
        """The cached terms, which may be out of date; None without any."""
        return self._terms.get(event_id)

    async def find(self, event_id: UUID) -> Terms:
        """The cached terms, or else those in PostgreSQL; raises EventNotFound."""
        return self._terms.get(event_id) or await self.load(event_id)

    async def load(self, event_id: UUID) -> Terms:
        """The terms from PostgreSQL; concurrent callers for one event share one read."""
        return await self._loads.of(event_id)

    async def read(self, event_id: UUID) -> Terms:
        """The terms from PostgreSQL, read after this call began."""
        terms = (await self._events.find(event_id)).terms
        self.put(terms)
        return terms

    async def in_force(self, cached: Terms) -> Terms:
        """The cached terms if Redis has the same token, otherwise those in PostgreSQL.

        Terms are in Redis before their change is answered. So terms that Redis has are not older than any that a caller
        was told of. That costs much less than reading an event with thousands of promo codes.
        """
        if (await self._inventory.installed(cached.event_id)).terms == cached.token:
            return cached
        return await self.load(cached.event_id)

    async def follow(self, stale: Terms) -> Terms:
        """Newer terms than `stale`.

        If PostgreSQL has the same terms, Redis is outdated: the terms are renewed in both.
        """
        terms = await self.load(stale.event_id)
        if terms.token == stale.token:
            terms = (await self._catalog.renew_terms(stale.event_id, instead_of=stale.token)).terms
            self.put(terms)
        return terms

    def put(self, terms: Terms) -> None:
        """Cache the terms of an event that was just read or changed."""
        self._terms[terms.event_id] = terms
        self._terms.move_to_end(terms.event_id)
        if len(self._terms) > TERMS_CACHED_MAX:
            self._terms.popitem(last=False)


def _too_many() -> Unavailable:
    detail = "Too many events are being looked up."
    return Unavailable(detail, retry_after_seconds=1)
