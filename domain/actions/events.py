"""The actions of callers on events: create, show, change and cancel them, and suspend those of an organizer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.kernel.refusals import InventoryUnavailable
from domain.kernel.times import from_ms
from domain.sales.events import ROOM

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from domain.accounts.accounts import Caller
    from domain.actions.terms import TermsCache
    from domain.kernel.event_status import EventStatus
    from domain.sales.events import Event, EventChanges, NewEvent
    from domain.store.job_queue import Doorbell
    from domain.store.postgres.events.catalog import Catalog
    from domain.store.postgres.events.reads import EventReads
    from domain.store.postgres.ledger import Ledger
    from domain.store.redis.inventory import Inventory, TakenTickets


class EventActions:
    """Creates, shows, changes and cancels events. One per process."""

    def __init__(  # noqa: PLR0913  (one per store)
        self,
        *,
        events: EventReads,
        catalog: Catalog,
        inventory: Inventory,
        ledger: Ledger,
        doorbell: Doorbell,
        terms: TermsCache,
    ) -> None:
        self._events = events
        self._catalog = catalog
        self._inventory = inventory
        self._ledger = ledger
        self._doorbell = doorbell
        self._terms = terms

    async def create(self, new: NewEvent, *, caller: Caller) -> Event:
        """Create an event of the caller and put it on sale; raises Invalid, InventoryUnavailable.

        `caller`, here and below, is the account that acts. Raises Unauthenticated if its token was ended meanwhile.
        """
        event = await self._catalog.create(new, caller=caller, now=await self._now())
        self._terms.put(event.terms)
        return event

    async def find(self, event_id: UUID) -> Event:
        """The event as PostgreSQL has it, without its counters and its catalogue; raises EventNotFound."""
        return await self._events.find_listed(event_id)

    async def change(
        self, event_id: UUID, changes: EventChanges, *, caller: Caller, expected_version: int | None
    ) -> Event:
        """Change an event. Changes of its sale take effect at once.

        Raises:
            EventNotFound, EventCancelled, CapacityBelowSold, VersionMismatch, Invalid, InventoryUnavailable.
        """
        event = await self._catalog.change(
            event_id, changes, caller=caller, expected_version=expected_version, now=await self._now(event_id)
        )
        self._terms.put(event.terms)
        return event

    async def cancel(self, event_id: UUID, *, caller: Caller) -> Event:
        """Stop sales at once and have every booking cancelled in the background.

        A repeated call returns the same event.

        Raises:
            EventNotFound, EventOver, InventoryUnavailable.
        """
        event = await self._catalog.cancel(event_id, caller=caller, now=await self._now(event_id))
        self._terms.put(event.terms)
        self._doorbell.ring_to_clear(event_id)
        return event

    async def behind_organizer(self, organizer_id: UUID, *, after: UUID | None, limit: int) -> list[UUID]:
        """The organizer's events whose suspension does not match the organizer's right to sell, in order of id."""
        return await self._events.behind_organizer(organizer_id, after=after, limit=limit)

    async def follow_organizer(self, event_id: UUID) -> None:
        """Suspend an event if its organizer may not sell, otherwise end its suspension.

        Raises:
            EventNotFound, InventoryUnavailable.
        """
        self._terms.put((await self._catalog.follow_organizer(event_id)).terms)

    async def go_on_clearing(self, *, limit: int) -> UUID | None:
        """Queue the clearing of cancelled events whose job was lost or is not done.

        Returns one event whose job the queue did not accept, None if it accepted all.
        """
        for event_id in await self._events.uncleared(limit=limit):
            if not await self._doorbell.rang_to_clear(event_id):
                return event_id
        return None

    async def on_show(self, events: Sequence[Event]) -> list[tuple[Event, int, EventStatus]]:
        """Each event with its remaining tickets and its status, as the inventory has them now.

        Raises:
            InventoryUnavailable: an event has no inventory because it is being rebuilt.
        """
        known = {event.id: event for event in events}
        asked = [event.id for event in events if event.closed_at is None]
        taken = dict(zip(asked, await self._inventory.taken_tickets(asked) if asked else [], strict=True))
        if gone := [event_id for event_id in asked if taken[event_id].taken is None]:
            # These events were closed after they were read, or the inventory is being rebuilt.
            known |= await self._events.find_all(gone)
        closed = [event.id for event in known.values() if event.closed_at is not None]
        stored = await self._ledger.taken_of(ROOM, closed) if closed else {}
        return [_on_show(known[event.id], taken.get(event.id), stored.get(event.id)) for event in events]

    async def _now(self, event_id: UUID | None = None) -> datetime:
        """The time of an event: Redis' clock, but it never goes back when that clock is set back.

        Without an event, Redis' clock.
        """
        if event_id is None:
            return from_ms(await self._inventory.now_ms())
        (taken,) = await self._inventory.taken_tickets([event_id])
        return from_ms(taken.now_ms)


def _on_show(event: Event, counted: TakenTickets | None, stored: int | None) -> tuple[Event, int, EventStatus]:
    """An event for `on_show`. A closed event is counted by `stored` from PostgreSQL, others by their counters."""
    taken = stored if event.closed_at is not None or counted is None else counted.taken
    if taken is None and event.cancelled_at is None:
        raise InventoryUnavailable.rebuilding()
    remaining = max(0, event.capacity - (taken or 0))
    return event, remaining, event.terms.status(now_ms=counted.now_ms if counted else 0, remaining=remaining)
